create function @extschema@.pg_background_submit(sql text, queue_size int4 default 0, label text default null) returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].submit(sql, queue_size, label)
$python$;
comment on function @extschema@.pg_background_submit(text, int4, text) is
    'Like pg_background_launch for a job whose rows are not wanted: they are thrown away, and pg_background_result raises 0A000. As pg_background 2.0.';
