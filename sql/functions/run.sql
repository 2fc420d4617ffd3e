create function @extschema@.pg_background_run(sql text, queue_size int4 default 0, timeout_ms int4 default 0, label text default null) returns @extschema@.pg_background_run_result
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].run(sql, queue_size, timeout_ms, label)
$python$;
comment on function @extschema@.pg_background_run(text, int4, int4, text) is
    'Launch, wait, outcome and detach in one call. After timeout_ms (0 or less: never) the job is canceled with 1 s grace and timed_out is true. The job''s error is in the columns, not raised. Raises as pg_background_launch, and 40P01 as pg_background_wait.';
