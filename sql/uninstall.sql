-- Remove pg_background_plpy @version@: psql -v ON_ERROR_STOP=1 -f uninstall.sql, as a superuser.
-- Takes away what the installation made and nothing else: the schema stays where it was there before, dblink, plpython3u, foreign servers
-- and user mappings stay, and so does the role pgbackground_role, which belongs to the cluster. Where objects of others depend on ours,
-- or jobs are running for longer than lock_timeout (10 s where it is 0), it says which, and changes nothing.
begin;
set local search_path = pg_catalog, pg_temp;
do $sql$
declare
    there regnamespace;
begin
    select p.pronamespace into there
      from pg_proc p join pg_language l on l.oid = p.prolang
     where p.proname = 'pg_background_check' and l.lanname = 'plpython3u' limit 1;
    if there is distinct from to_regnamespace('@extschema@') or there is null then
        raise exception using errcode = 'undefined_object',
            message = 'pg_background_plpy is not installed in schema @extschema@ of this database',
            hint = case when there is null then 'It is in no schema of this database.'
                        else format('It is in schema %s: make dist SCHEMA=%s writes the file for that.', there, there) end;
    elsif to_regprocedure('pgbackground.prepare_removal(int4)') is null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('schema %s holds another version of pg_background_plpy', there),
            hint = 'Remove it with the uninstall.sql of that version.';
    end if;
    perform pgbackground.prepare_removal(pgbackground.removal_patience());
    if to_regprocedure('pgbackground.remove_cron()') is not null then
        -- Made by cron.sql.
        execute 'select pgbackground.remove_cron()';
    end if;
end
$sql$;

create temporary table ours on commit drop as
select o.classid, o.objid, 1 as place from pgbackground.our_objects() o
 union
select 'pg_namespace'::regclass, '@extschema@'::regnamespace, 2 from pgbackground.installation i where i.schema_is_ours
 union
select 'pg_namespace'::regclass, 'pgbackground'::regnamespace, 2
 union
-- what logins start the clock with
select 'pg_event_trigger'::regclass, t.oid, 1 from pg_event_trigger t where t.evtfoid = 'pgbackground.login_begins'::regproc
 union
-- of the extension, what lies in no schema
select d.classid, d.objid, 1
  from pg_extension e join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
 where e.extname = 'pg_background_plpy';

do $sql$
declare
    dependents text;
begin
    with recursive part as (
        select o.classid, o.objid from pg_temp.ours o
        union
        -- what goes with its owner: row types, rules of views, indexes, defaults
        select d.classid, d.objid
          from part p join pg_depend d on d.refclassid = p.classid and d.refobjid = p.objid and d.deptype in ('i', 'a')
    ), dependent as (
        select distinct
               coalesce('view ' || v.ev_class::regclass, pg_describe_object(d.classid, d.objid, d.objsubid)) as name
          from part p
          join pg_depend d on d.refclassid = p.classid and d.refobjid = p.objid and d.deptype = 'n'
          left join pg_rewrite v on d.classid = 'pg_rewrite'::regclass and v.oid = d.objid and v.rulename = '_RETURN'
         where not exists (select from part o where o.classid = d.classid and o.objid = d.objid)
    )
    select string_agg(name, E'\n' order by name) into dependents from dependent;
    if dependents is not null then
        raise exception using errcode = 'dependent_objects_still_exist',
            message = 'pg_background_plpy cannot be removed: objects of others depend on it or are in its schema',
            detail = dependents,
            hint = 'Drop or move these, and try again. Nothing has been changed.';
    end if;
end
$sql$;

do $sql$
declare
    queued int8;
begin
    select count(*) into queued from @extschema@.pg_background_jobs j where j.state = 'queued';
    if queued > 0 then
        raise notice 'jobs that are queued and go with it: %', queued;
    end if;
    if (select i.names_were_public from pgbackground.installation i) then
        execute (
            select format('grant execute on function %I.dblink_get_connections() to public', n.nspname)
              from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'dblink');
    end if;
end
$sql$;

do $sql$
declare
    each record;
    dropped int4;
    reason text;
    left_over text;
begin
    if exists (select from pg_extension e where e.extname = 'pg_background_plpy') then
        drop extension pg_background_plpy;
        return;
    end if;
    -- One by one and never with CASCADE: what others still need has to wait for the next turn.
    loop
        dropped := 0;
        for each in
            select o.classid, o.objid, case i.type when 'composite type' then 'type' else i.type end as kind, i.identity
              from pg_temp.ours o, pg_identify_object(o.classid, o.objid, 0) i
             order by o.place, i.type <> 'view', i.type = 'type'
        loop
            begin
                execute format('drop %s %s', each.kind, each.identity);
                delete from pg_temp.ours o where o.classid = each.classid and o.objid = each.objid;
                dropped := dropped + 1;
            exception when dependent_objects_still_exist then
                get stacked diagnostics reason = message_text, left_over = pg_exception_detail;
            end;
        end loop;
        exit when not exists (select from pg_temp.ours);
        if dropped = 0 then
            raise exception using errcode = 'dependent_objects_still_exist', message = reason, detail = left_over;
        end if;
    end loop;
end
$sql$;
commit;
