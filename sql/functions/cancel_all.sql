create function @extschema@.pg_background_cancel_all() returns int4
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].cancel_all()
$python$;
comment on function @extschema@.pg_background_cancel_all() is
    'Cancel every live job of this session; returns how many. As pg_background 2.0.';
