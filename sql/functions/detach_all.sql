create function @extschema@.pg_background_detach_all() returns int4
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].detach_all()
$python$;
comment on function @extschema@.pg_background_detach_all() is
    'Detach every job of this session; returns how many. As pg_background 2.0.';
