-- Schedules as pg_cron has its jobs: what stands behind the schema cron (cron.sql) and pg_background_import_cron.

-- Purpose: the settings that a login of pg_cron's would begin with, as far as a worker has others of its own: a role's and a database's, then
-- the server's. search_path is always among them.
create function pgbackground.login_settings(in_login oid, out names text[], out settings text[])
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    select array_agg(w.name order by w.name), array_agg(coalesce(chosen.setting, w.fallback) order by w.name) into names, settings
      from (values ('search_path', (select s.boot_val from pg_settings s where s.name = 'search_path')),
                   ('default_transaction_isolation', null), ('default_transaction_read_only', null), ('lock_timeout', null),
                   ('statement_timeout', null)) w (name, fallback)
      left join lateral (
           select c.setting
             from (select case when d.setrole = 0 then 1 else 3 end + case when d.setdatabase = 0 then 0 else 1 end as rank,
                          substr(o.option, strpos(o.option, '=') + 1) as setting, split_part(o.option, '=', 1) as name
                     from pg_db_role_setting d, unnest(d.setconfig) o (option)
                    where d.setrole in (0, in_login)
                      and d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database()))
                   union all
                   select 0, f.setting, f.name from pg_file_settings f where f.applied) c
            where c.name = w.name order by c.rank desc limit 1) chosen on true
     where chosen.setting is not null or w.fallback is not null;
end
$plpgsql$;

-- Purpose: make a schedule of what pg_cron calls a job, or change one: that of an id, else that of the name; null for an argument leaves it as it is.
-- Its jobs begin with the settings of a login, not with this session's. Returns: its id; null where the caller has none with that id.
-- Raises 42501 for somebody else's name and no superuser, 42704 for a role, 23505 for a name that is taken, and as pg_background_schedule.
create function pgbackground.keep_cron_job(job_id int8, job_name text, schedule text, command text, username text, active bool) returns int8
language plpython3u volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].keep_cron_job(job_id, job_name, schedule, command, username, active)
$python$;

-- Purpose: forget a schedule: the caller's own, a superuser anybody's. False: he has none with that id.
create function pgbackground.forget_cron_job(job_id int8) returns bool
language plpython3u volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].forget_cron_job(job_id)
$python$;
