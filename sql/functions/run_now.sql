create function @extschema@.pg_background_run_now(name text) returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].run_now(name)
$python$;
comment on function @extschema@.pg_background_run_now(text) is
    'Queue a job of a schedule now, in the caller''s own transaction, whether it is active or not: the caller''s own of that name, or one of a role whose rights he has. It runs as the schedule''s role. Returns its handle, with pid 0; where the schedule''s overlap lets no other one in, that of the unfinished one. The schedule is due at no time until this transaction has ended. Raises 42704 when there is no such schedule or its role is gone, 42725 when several other roles have one of that name, 55000 in a copy of the database it was made in. Beyond pg_background.';
