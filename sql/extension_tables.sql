-- For CREATE EXTENSION only: what these tables hold is the users', and belongs into a dump.
select pg_catalog.pg_extension_config_dump('@extschema@.job', '');
select pg_catalog.pg_extension_config_dump('@extschema@.job_rows', '');
select pg_catalog.pg_extension_config_dump('@extschema@.job_message', '');
select pg_catalog.pg_extension_config_dump('@extschema@.pg_background_config', '');
select pg_catalog.pg_extension_config_dump('@extschema@.pg_background_limits', '');
select pg_catalog.pg_extension_config_dump('@extschema@.job_number_seq', '');
select pg_catalog.pg_extension_config_dump('@extschema@.retired', '');
