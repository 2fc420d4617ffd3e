create function @extschema@.pg_background_full_sql(pid int4, cookie int8) returns text
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].full_sql(pid, cookie)
$python$;
comment on function @extschema@.pg_background_full_sql(int4, int8) is
    'The whole SQL text of the job. Raises 42704, 55000, 42501. As pg_background 2.0.';
