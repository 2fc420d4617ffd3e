create function @extschema@.pg_background_revoke_privileges(role_name text, print_commands bool default false) returns bool
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].revoke_privileges(role_name, print_commands)
$python$;
comment on function @extschema@.pg_background_revoke_privileges(text, bool) is
    'Revoke pgbackground_role from a role; otherwise as pg_background_grant_privileges. As pg_background 2.0.';
