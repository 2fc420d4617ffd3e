create function @extschema@.pg_background_wait(pid int4, cookie int8, timeout_ms int4 default 0) returns bool
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].wait(pid, cookie, timeout_ms)
$python$;
comment on function @extschema@.pg_background_wait(int4, int8, int4) is
    'Wait until the job has ended in any way: true; false when timeout_ms (0 or less: for ever) is over. Raises 42704, 55000, 42501, 40P01 when the job itself waits for this session''s transaction or snapshot (see pg_background_await).';
