-- For CREATE EXTENSION only: what these tables hold is the users', and belongs into a dump.
select pg_catalog.pg_extension_config_dump('pgbackground.job', '');
select pg_catalog.pg_extension_config_dump('pgbackground.request', '');
select pg_catalog.pg_extension_config_dump('pgbackground.job_rows', '');
select pg_catalog.pg_extension_config_dump('pgbackground.job_message', '');
select pg_catalog.pg_extension_config_dump('@extschema@.pg_background_config', '');
select pg_catalog.pg_extension_config_dump('@extschema@.pg_background_limits', '');
select pg_catalog.pg_extension_config_dump('pgbackground.history', '');
select pg_catalog.pg_extension_config_dump('pgbackground.retired', '');

-- DROP EXTENSION, too, locks first.
create event trigger pg_background_plpy_removal on ddl_command_start when tag in ('DROP EXTENSION')
    execute function pgbackground.removal_begins();
select pg_catalog.pg_extension_config_dump('pgbackground.schedule', '');
