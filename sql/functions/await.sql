create procedure @extschema@.pg_background_await(pid int4, cookie int8, timeout_ms int4 default 0)
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
GD["pg_background @hash@"].await_(pid, cookie, timeout_ms)
$python$;
comment on procedure @extschema@.pg_background_await(int4, int8, int4) is
    'Wait as pg_background_wait does, but without holding a transaction or snapshot: the only way to wait in the same session for CREATE INDEX CONCURRENTLY and the like. Raises 57014 when timeout_ms (0 or less: for ever) is over, 42704, 55000, 42501, 2D000 inside a transaction block. Beyond pg_background.';
