create function @extschema@.pg_background_list() returns setof record
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].list_()
$python$;
comment on function @extschema@.pg_background_list() is
    'The jobs launched and not detached by this session: (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text, sql_preview text, last_error text, consumed bool, label text). The view pg_background_list needs no column list. As pg_background 2.0.';
