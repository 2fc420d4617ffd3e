create function @extschema@.pg_background_wait_any(handles @extschema@.pg_background_handle[], timeout_ms int4 default 0) returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].wait_any(handles, timeout_ms)
$python$;
comment on function @extschema@.pg_background_wait_any(@extschema@.pg_background_handle[], int4) is
    'Wait until one of the jobs has ended and return its handle; null when timeout_ms (0 or less: for ever) is over. A handle that names no job is passed over; when all are such, 42704, 55000 or 42501 is raised. Raises 40P01 as pg_background_wait. As pg_background 2.0.';
