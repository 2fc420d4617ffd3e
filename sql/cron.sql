-- The schema cron of pg_background_plpy @version@, optional: psql -v ON_ERROR_STOP=1 -f cron.sql, as a superuser, behind install.sql.
-- It has the functions and views of pg_cron 1.6 over the schedules and jobs of pg_background_plpy; docs/schedules.md says what is otherwise.
-- May be run again. `select pgbackground.remove_cron()` takes it away, and so does uninstall.sql; neither touches schedules or jobs.
begin;
set local search_path = pg_catalog, pg_temp;
\i cron/place.sql
\i cron/functions.sql
\i cron/views.sql
\i cron/removal.sql
\i cron/grants.sql
commit;
