create function @extschema@.pg_background_result_info(pid int4, cookie int8) returns @extschema@.pg_background_result_info
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].result_info(pid, cookie)
$python$;
comment on function @extschema@.pg_background_result_info(int4, int8) is
    'Rows, command tag, completed, has_error, started and finished. Raises 42704, 55000, 42501. As pg_background 2.0.';
