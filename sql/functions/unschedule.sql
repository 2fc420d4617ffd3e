create function @extschema@.pg_background_unschedule(name text) returns bool
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].unschedule(name)
$python$;
comment on function @extschema@.pg_background_unschedule(text) is
    'Forget a schedule, with the caller''s transaction: the caller''s own of that name, or one of a role whose rights he has. False: there is none. Its jobs stay, and those that are queued or running go on. Raises 42725 when several other roles have one of that name. Beyond pg_background.';
