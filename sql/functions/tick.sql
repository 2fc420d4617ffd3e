create function @extschema@.pg_background_tick() returns int4
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].tick()
$python$;
comment on function @extschema@.pg_background_tick() is
    'Queue and start everything that is due, of all roles, at once and whatever becomes of the caller''s transaction, and start the clock where none is kept. Jobs from the queue whose workers were lost end here, or are tried again. Returns how many jobs of schedules this call has queued. The clock does this by itself: call it from anything that comes up after a restart of the server. Idempotent, however many call it at once; 0 on a standby. Raises 53300 without a connection, 08001 when the login is refused. Beyond pg_background.';
