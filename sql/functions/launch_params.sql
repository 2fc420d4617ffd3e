create function @extschema@.pg_background_launch_params(sql text, params jsonb, label text default null) returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].launch_params(sql, params, label)
$python$;
comment on function @extschema@.pg_background_launch_params(text, jsonb, text) is
    'Launch one statement with values for its parameters $1, $2 ... from a JSON array: bound by the server, never part of the text. A JSON null is a null; every other element is taken as text and becomes the type that the statement gives the parameter (an array as a string: "{1,2}"). Raises 22023 when params is no array, 0A000 for more than one statement, and as pg_background_launch. Beyond pg_background.';
