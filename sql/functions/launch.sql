create function @extschema@.pg_background_launch(sql text, queue_size int4 default 0, label text default null) returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].launch(sql, queue_size, label)
$python$;
comment on function @extschema@.pg_background_launch(text, int4, text) is
    'Run SQL in the background and return its handle (pid, cookie) as soon as the job is in the registry. queue_size: bytes, 0 for the default; label: a name for people. A null sql gives a null handle. Raises 22023 (queue_size, a setting), 53400 (a limit), 53300 (no connection left), 08001 (the worker cannot log in), 25006 (standby). As pg_background 2.0.';
