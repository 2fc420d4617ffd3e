create function @extschema@.pg_background_detach(pid int4, cookie int8) returns void
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].detach(pid, cookie)
$python$;
comment on function @extschema@.pg_background_detach(int4, int8) is
    'Stop tracking the job in this session: it goes on, its outcome is kept, its rows are not. Other sessions see it a moment later. It stops nothing: that is pg_background_cancel. Raises 42704, 55000, 42501.';
