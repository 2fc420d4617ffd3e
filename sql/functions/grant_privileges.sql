create function @extschema@.pg_background_grant_privileges(role_name text, print_commands bool default false) returns bool
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].grant_privileges(role_name, print_commands)
$python$;
comment on function @extschema@.pg_background_grant_privileges(text, bool) is
    'Grant pgbackground_role to a role; print_commands shows the command as INFO. For the DBA: raises 42501 for those who may not grant the role; an unknown role gives false and a NOTICE. As pg_background 2.0.';
