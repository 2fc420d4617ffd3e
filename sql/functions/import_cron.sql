create function @extschema@.pg_background_import_cron()
returns table (jobid int8, name text, role text, schedule text, timezone text, outcome text, detail text)
language plpython3u volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].import_cron()
$python$;
comment on function @extschema@.pg_background_import_cron() is
    'Make schedules of the jobs of pg_cron in this database (the table cron.job), in this transaction: each with its name (cron job N for one without), its owner, whether it is active, and the zone of cron.timezone (GMT where that is not set). One row a job says what became of it: outcome imported, exists (its role has a schedule of that name already, which stays as it is), passed over (of another database or server, or of a role that is gone), or refused (with the reason); detail explains, and says what to do. pg_cron itself is left as it is, and goes on with its jobs until it is dropped or they are deactivated there. For the DBA: raises 42501 for anybody but a superuser and for a table that a superuser does not own, 42P01 where there is none, 55000 where cron.job is of dist/cron.sql. Beyond pg_background.';
