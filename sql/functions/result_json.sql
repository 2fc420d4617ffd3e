create function @extschema@.pg_background_result_json(pid int4, cookie int8) returns setof jsonb
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].result_json(pid, cookie)
$python$;
comment on function @extschema@.pg_background_result_json(int4, int8) is
    'Wait for the job and return the rows of its last statement in order, each as an object, without a column list; a name that several columns share holds the array of their values. Numbers, booleans, json, jsonb and arrays become JSON of their kind, null is null, everything else is the text that PostgreSQL writes for it (NaN and Infinity too). A job without rows gives none. Raises as pg_background_result. Beyond pg_background.';
