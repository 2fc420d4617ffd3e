create function @extschema@.pg_background_get_progress(pid int4, cookie int8) returns @extschema@.pg_background_progress_info
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].get_progress(pid, cookie)
$python$;
comment on function @extschema@.pg_background_get_progress(int4, int8) is
    'The last progress the job reported, while it runs and after its end; null before the first report and where nothing is known or may be known. As pg_background 2.0.';
