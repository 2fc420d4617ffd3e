-- pg_cron's functions, with its messages and SQLSTATEs. current_user counts, as there. They write no table: pg_background_plpy does.

-- Purpose: keep_cron_job, with pg_cron's words for a schedule that means nothing; what is wrong with it is in the detail.
create or replace function pgbackground.cron_keep(job_id int8, job_name text, schedule text, command text, username text, active bool)
returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    said text;
    cure text;
begin
    return pgbackground.keep_cron_job(job_id, job_name, schedule, command, username, active);
exception when invalid_parameter_value then
    get stacked diagnostics said = message_text, cure = pg_exception_hint;
    said := regexp_replace(said, '^pg_background: ', '');
    if said ~ '^invalid .*schedule: ' then
        raise exception using errcode = '22023', message = 'invalid schedule: ' || schedule, detail = said, hint = cure;
    end if;
    raise exception using errcode = '22023', message = said, hint = cure;
end
$plpgsql$;

-- Purpose: what is wrong with a job's database and user, in pg_cron's words; null for either is the caller's own. Raises 3D000, 0A000, XX000.
create or replace function pgbackground.cron_check(in_database text, username text, not_super text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    found_role record;
begin
    if not exists (select from pg_database d where d.datname = coalesce(in_database, current_database())) then
        raise exception using errcode = '3D000', message = format('database "%s" does not exist', in_database);
    elsif in_database <> current_database() then
        raise exception using errcode = '0A000', message = format('jobs run in this database, "%s", only', current_database()),
            hint = format('Install pg_background_plpy in database "%s", and schedule the job there.', in_database);
    elsif username <> current_user and not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        raise exception using errcode = 'XX000', message = not_super;
    elsif username is not null then
        select r.rolcanlogin into found_role from pg_roles r where r.rolname = username;
        if not found then
            raise exception using errcode = 'XX000', message = format('role "%s" does not exist', username);
        elsif username <> current_user and not found_role.rolcanlogin then
            raise exception using errcode = 'XX000', message = format('role "%s" can not log in', username),
                detail = 'Jobs may only be run by roles that have the LOGIN attribute.';
        elsif not pg_has_role(username, 'pgbackground_role', 'USAGE') then
            raise warning using message = format('role "%s" may not run jobs', username),
                hint = format('Its jobs fail until: grant pgbackground_role to %I;', username);
        end if;
    end if;
end
$plpgsql$;

-- Purpose: refuse a null where there must be none, in pg_cron's words. Raises XX000.
create or replace function pgbackground.cron_refuse_null(job_name text, schedule text, command text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if job_name is null then
        raise exception using errcode = 'XX000', message = 'job_name can not be NULL';
    elsif schedule is null then
        raise exception using errcode = 'XX000', message = 'schedule can not be NULL';
    elsif command is null then
        raise exception using errcode = 'XX000', message = 'command can not be NULL';
    end if;
end
$plpgsql$;

create or replace function cron.schedule(schedule text, command text) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pgbackground.cron_refuse_null('', schedule, command);
    return pgbackground.cron_keep(null, null, schedule, command, null, null);
end
$plpgsql$;
comment on function cron.schedule(text, text) is
    'Run SQL at certain times, as the caller, in this database; a new job each time. Returns its id. schedule: five fields, "N seconds", or a word like @daily, in the zone of cron.timezone (GMT where that is not set); also what pg_background_schedule takes. As pg_cron.';

create or replace function cron.schedule(job_name text, schedule text, command text) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pgbackground.cron_refuse_null(job_name, schedule, command);
    return pgbackground.cron_keep(null, job_name, schedule, command, null, null);
end
$plpgsql$;
comment on function cron.schedule(text, text, text) is
    'The same by a name: a job of the caller with that name gets the schedule and the command, and stays active or not. As pg_cron.';

create or replace function cron.schedule_in_database(
    job_name text, schedule text, command text, database text, username text default null, active bool default true)
returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pgbackground.cron_refuse_null(job_name, schedule, command);
    perform pgbackground.cron_check(database, username, 'must be superuser to create a job for another role');
    return pgbackground.cron_keep(null, job_name, schedule, command, username, active);
end
$plpgsql$;
comment on function cron.schedule_in_database(text, text, text, text, text, bool) is
    'The same for a database, which can only be this one (0A000; null is this one, too), and for a user, where the caller is a superuser. As pg_cron.';

create or replace function cron.alter_job(
    job_id int8, schedule text default null, command text default null, database text default null, username text default null,
    active bool default null)
returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if job_id is null then
        raise exception using errcode = 'XX000', message = 'job_id can not be NULL';
    elsif num_nonnulls(schedule, command, database, username, active) = 0 then
        raise exception using errcode = 'XX000', message = 'no updates specified',
            hint = 'You must specify at least one job attribute to change when calling alter_job';
    end if;
    perform pgbackground.cron_check(database, username, 'must be superuser to alter username');
    if pgbackground.cron_keep(job_id, null, schedule, command, username, active) is null then
        raise exception using errcode = 'XX000', message = format('Job %s does not exist or you don''t own it', job_id);
    end if;
end
$plpgsql$;
comment on function cron.alter_job(int8, text, text, text, text, bool) is
    'Change what is not null of a job: the caller''s own, a superuser anybody''s. A run that is going on goes on. As pg_cron.';

create or replace function cron.unschedule(job_id int8) returns bool
language plpgsql volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not pgbackground.forget_cron_job(job_id) then
        raise exception using errcode = 'XX000', message = format('could not find valid entry for job %s', job_id);
    end if;
    return true;
end
$plpgsql$;
comment on function cron.unschedule(int8) is
    'Forget a job by its id: the caller''s own, a superuser anybody''s. Runs stay in job_run_details. As pg_cron.';

create or replace function cron.unschedule(job_name text) returns bool
language plpgsql volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not exists (select from @extschema@.pg_background_schedules s where s.name = job_name and s.role = current_user)
       or not @extschema@.pg_background_unschedule(job_name) then
        raise exception using errcode = 'XX000', message = format('could not find valid entry for job ''%s''', job_name);
    end if;
    return true;
end
$plpgsql$;
comment on function cron.unschedule(text) is 'Forget a job by its name: the caller''s own only. As pg_cron.';
