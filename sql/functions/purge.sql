create function @extschema@.pg_background_purge() returns int4
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].purge()
$python$;
comment on function @extschema@.pg_background_purge() is
    'Detach the ended jobs of this session; returns how many. As pg_background 2.0.';
