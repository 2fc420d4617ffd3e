create function @extschema@.pg_background_cancel(pid int4, cookie int8, grace_ms int4 default 0) returns void
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].cancel(pid, cookie, grace_ms)
$python$;
comment on function @extschema@.pg_background_cancel(int4, int8, int4) is
    'Ask the job to stop. With grace_ms (at most 3600000) wait that long and then end the worker process. A job that has ended is left alone; no signal ever reaches another job. Raises 42704, 55000, 42501 (members of pg_signal_backend may cancel, too, but no superuser''s job). As pg_background 2.0.';
