create function @extschema@.pg_background_execute(sql text, params jsonb default null, timeout_ms int4 default 0, label text default null) returns int8
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].execute(sql, params, timeout_ms, label)
$python$;
comment on function @extschema@.pg_background_execute(text, jsonb, int4, text) is
    'An autonomous transaction in one call: run the SQL as a job, wait for its end, and return the number of its rows (0 where its last statement has none). params: as pg_background_launch_params. After timeout_ms (0 or less: never) the job is canceled and 57014 is raised. Whatever is raised, the job does not go on; there is nothing to detach. Raises the job''s own error with all its fields, 22004 for a null SQL, 40P01 when the job waits for a lock of the caller''s own transaction, and as pg_background_launch_params. Beyond pg_background.';
