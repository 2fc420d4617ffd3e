-- Removing it all under running sessions: everything is locked before anything is dropped.

-- Purpose: lock every table, view and sequence of ours, and see that no job is running. Nothing is waited for while a lock is held, so
-- nobody deadlocks with this: the first lock is waited for, the others are taken if they are free; where one is not, all are given
-- back, and next time that one comes first. Raises 55006 when the patience is over, and says who is at work.
create function pgbackground.prepare_removal(patience_ms int4) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set lock_timeout = 0
as $plpgsql$
declare
    deadline timestamptz := clock_timestamp() + patience_ms * interval '1 ms';
    relations oid[] := array(
        select c.oid
          from pgbackground.our_objects() o join pg_class c on o.classid = 'pg_class'::regclass and c.oid = o.objid
        union
        select d.objid
          from pgbackground.our_objects() o
          join pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid and d.deptype in ('i', 'a')
          join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid and c.relkind = 'S'
        union
        -- the views of cron.sql, where it is installed
        select c.oid from pg_class c
         where to_regprocedure('pgbackground.remove_cron()') is not null
           and c.oid in (to_regclass('cron.job'), to_regclass('cron.job_run_details')));
    relation oid;
    in_the_way oid;
    waits bool;
    busy text;
begin
    loop
        begin
            waits := true;
            for relation in
                select r.oid from unnest(relations) r (oid) order by r.oid is distinct from in_the_way, r.oid
            loop
                -- The first one has time for the deadlock detector, which lets waiters overtake each other.
                perform set_config('lock_timeout', case when waits then greatest(least(patience_ms, 2000), 1) else 1 end::text, true);
                waits := false;
                in_the_way := relation;
                -- It changes nothing, and is the one command that locks tables, views and sequences alike.
                execute (
                    select format('alter table %s owner to %I', c.oid::regclass, pg_get_userbyid(c.relowner))
                      from pg_class c where c.oid = relation);
            end loop;
            if exists (select from @extschema@.pg_background_jobs j where j.state = 'running') then
                raise object_in_use;
            end if;
            return;
        exception when lock_not_available or object_in_use then
            if clock_timestamp() >= deadline then
                busy := pgbackground.who_is_at_work(relations);
                raise exception using errcode = 'object_in_use',
                    message = 'pg_background_plpy is in use and cannot be removed now',
                    detail = busy,
                    hint = 'Let these end, or end them (pg_background_cancel, pg_terminate_backend), and try again. A limit of 0 for the database in pg_background_limits lets no new job start.';
            end if;
            perform pg_sleep(0.02);
        end;
    end loop;
end
$plpgsql$;

-- Purpose: running jobs, and sessions that have locked these relations, a line each, for an error's detail.
create function pgbackground.who_is_at_work(relations oid[]) returns text
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $plpgsql$
declare
    lines text[];
begin
    begin
        lines := array(
            select format('job of PID %s, role %s%s: %s', j.pid, j.role, ', label ' || quote_literal(j.label), left(j.sql, 60))
              from @extschema@.pg_background_jobs j where j.state = 'running' order by j.started_at limit 20);
    exception when lock_not_available then
        -- The sessions tell.
        null;
    end;
    return array_to_string(lines || array(
        select format('session of PID %s, role %s, %s%s: %s', a.pid, a.usename, a.state, ' since ' || date_trunc('second', a.xact_start),
                      left(a.query, 60))
          from pg_stat_activity a
         where a.pid <> pg_backend_pid()
           and exists (select from pg_locks l where l.pid = a.pid and l.granted and l.locktype = 'relation' and l.relation = any (relations))
         order by a.xact_start limit 20), E'\n');
end
$plpgsql$;

-- Purpose: how long removing waits for others: the session's lock_timeout, or 10 s where there is none.
create function pgbackground.removal_patience() returns int4
language sql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select coalesce(nullif(s.setting::int4, 0), 10000) from pg_settings s where s.name = 'lock_timeout'
$sql$;

-- Purpose: DROP EXTENSION locks objects one by one as it comes across them; this locks them before. Called by an event trigger of the extension.
create function pgbackground.removal_begins() returns event_trigger
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    -- The trigger is told what kind of command it is, not which extension goes; these take ours along.
    if current_query() ~* '\m(pg_background_plpy|dblink|plpython3u)\M' then
        perform pgbackground.prepare_removal(pgbackground.removal_patience());
    end if;
end
$plpgsql$;
