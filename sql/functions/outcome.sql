create function @extschema@.pg_background_outcome(p_pid int4, p_cookie int8) returns @extschema@.pg_background_outcome
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].outcome(p_pid, p_cookie)
$python$;
comment on function @extschema@.pg_background_outcome(int4, int8) is
    'The job''s fate in one row, also while it runs; nulls where nothing is known or may be known. Never raises. As pg_background 2.0.';
