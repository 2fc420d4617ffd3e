-- pg_cron's tables, as views. A user sees his own rows, a superuser all.

create or replace view cron.job with (security_barrier) as
    select s.id as jobid, s.schedule, s.sql as command, 'localhost'::text as nodename,
           pg_catalog.current_setting('port')::int4 as nodeport, pg_catalog.current_database()::text as database,
           coalesce(r.rolname, s.role_name)::text as username, s.active,
           case when s.name operator(pg_catalog.!~) '^cron job [0-9]+$' then s.name end as jobname
      from pgbackground.schedule s left join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) s.role
     where s.home operator(pg_catalog.=) (select pgbackground.home())
       and (r.rolname operator(pg_catalog.=) current_user
            or (select u.rolsuper from pg_catalog.pg_roles u where u.rolname operator(pg_catalog.=) current_user));
comment on view cron.job is
    'Your schedules, a superuser''s all: those of pg_background_schedule, too, whose zone is in pg_background_schedules. jobname: null for a job without a name. As pg_cron.';

-- Purpose: what pg_cron tells of a run that has ended: how many rows or the command tag; or the error.
create or replace function pgbackground.cron_message(
    state text, kind text, has_columns bool, tag text, row_count int8, message text, detail text, hint text) returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $sql$
    select case
        when state in ('error', 'canceled')
            then concat('ERROR:  ', message, E'\n', 'DETAIL:  ' || detail || E'\n', 'HINT:  ' || hint || E'\n')
        when state <> 'stopped' then null
        when kind = 'rows' or has_columns or tag = '' then row_count || case row_count when 1 then ' row' else ' rows' end
        when tag = 'INSERT' then 'INSERT 0 ' || row_count
        when kind = 'into' or tag in ('CREATE TABLE AS', 'CREATE MATERIALIZED VIEW') and row_count > 0 then 'SELECT ' || row_count
        when tag in ('UPDATE', 'DELETE', 'MERGE', 'COPY', 'FETCH', 'MOVE') then tag || ' ' || row_count
        else tag end
$sql$;

create or replace view cron.job_run_details with (security_barrier) as
    select j.schedule as jobid, j.cookie as runid,
           case when j.state operator(pg_catalog.<>) 'queued' then coalesce(j.executor_pid, j.pid) end as job_pid,
           pg_catalog.current_database()::text as database, pg_catalog.pg_get_userbyid(j.role)::text as username, j.sql as command,
           case j.state when 'queued' then 'starting' when 'running' then 'running' when 'stopped' then 'succeeded' else 'failed' end as status,
           pgbackground.cron_message(j.state, j.kinds[pg_catalog.cardinality(j.kinds)], j.columns is not null, j.command_tag, j.row_count,
                                     j.message, j.detail, j.hint) as return_message,
           -- One that was refused before it began has failed when it was due.
           case when j.state operator(pg_catalog.<>) 'queued' then coalesce(j.started_at, greatest(j.launched_at, j.due_at)) end as start_time,
           j.finished_at as end_time
      from pgbackground.visible_job j
     where j.schedule is not null and j.home operator(pg_catalog.=) (select pgbackground.home())
       and (pg_catalog.pg_get_userbyid(j.role) operator(pg_catalog.=) current_user
            or (select u.rolsuper from pg_catalog.pg_roles u where u.rolname operator(pg_catalog.=) current_user));
comment on view cron.job_run_details is
    'The runs of your schedules, a superuser''s of all, those of schedules that are gone included. status: starting (it waits for its turn), running, succeeded or failed. DELETE does nothing: rows go by pg_background_plpy''s own retention. As pg_cron.';

-- Whoever tidied up there has a job that does: it need not be taken away. The retention does it.
create or replace rule nothing_to_delete as on delete to cron.job_run_details do instead nothing;

-- Purpose: what superusers do to the table there.
create or replace function pgbackground.cron_job_changed() returns trigger
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if tg_op = 'DELETE' then
        perform cron.unschedule(old.jobid);
        return old;
    elsif tg_op = 'INSERT' then
        perform pgbackground.cron_check(new.database, new.username, 'must be superuser to create a job for another role');
        new.jobid := pgbackground.cron_keep(null, new.jobname, new.schedule, new.command, new.username, new.active);
    elsif (new.jobid, new.jobname) is distinct from (old.jobid, old.jobname) then
        raise exception using errcode = '0A000', message = 'the id and the name of a job stay as they are',
            hint = 'Schedule it under the other name, and unschedule this one.';
    else
        perform cron.alter_job(old.jobid, new.schedule, new.command, new.database, new.username, new.active);
    end if;
    return new;
end
$plpgsql$;
create or replace trigger job_changed instead of insert or update or delete on cron.job
    for each row execute function pgbackground.cron_job_changed();
