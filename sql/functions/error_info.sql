create function @extschema@.pg_background_error_info(pid int4, cookie int8) returns @extschema@.pg_background_error
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].error_info(pid, cookie)
$python$;
comment on function @extschema@.pg_background_error_info(int4, int8) is
    'The error that ended the job, field by field; null when there is none. Raises 42704, 55000, 42501. As pg_background 2.0.';
