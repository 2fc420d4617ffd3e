-- Objects of others on the search path of whoever installs are not for use in his name.
set local search_path = pg_catalog, pg_temp;

-- Whoever can make or replace a function of this schema gets the rights of all who call it.
do $sql$
declare
    owner name;
    is_super bool;
    names text;
begin
    select o.rolname, o.rolsuper into owner, is_super
      from pg_namespace n
      join pg_database d on d.datname = current_database()
      -- Schema public belongs to whoever owns the database.
      join pg_roles o on o.oid = case n.nspowner when 'pg_database_owner'::regrole then d.datdba else n.nspowner end
     where n.oid = '@extschema@'::regnamespace;
    if not is_super then
        raise exception using
            errcode = '55000',
            message = format('pg_background_plpy is not installed into schema %s, which belongs to %I', '@extschema@', owner),
            hint = 'Install into a schema that belongs to a superuser. Or look what is in this one, and: '
                   'alter schema @extschema@ owner to ' || quote_ident(current_user);
    end if;
    select string_agg(distinct coalesce(quote_ident(g.rolname), 'public'), ', ') into names
      from pg_namespace n, aclexplode(n.nspacl) a left join pg_roles g on g.oid = a.grantee
     where n.oid = '@extschema@'::regnamespace and a.privilege_type = 'CREATE' and a.grantee <> n.nspowner
       and g.rolsuper is not true;
    if names is not null then
        raise exception using
            errcode = '55000',
            message = format('pg_background_plpy is not installed into schema %s, in which others may create objects', '@extschema@'),
            detail = 'These may: ' || names,
            hint = 'Look what is in it, and: revoke create on schema @extschema@ from ' || names;
    end if;
    select string_agg(p.oid::regprocedure::text, ', ') into names
      from pg_proc p join pg_roles o on o.oid = p.proowner
     where p.pronamespace = '@extschema@'::regnamespace and not o.rolsuper
       and p.proname ~ '^((grant|revoke)_)?pg_background_';
    if names is not null then
        raise exception using
            errcode = '55000',
            message = format('pg_background_plpy is not installed into schema %s, which has functions of others with names like its own', '@extschema@'),
            detail = 'These are: ' || names,
            hint = 'Drop them, or install into another schema.';
    end if;
end
$sql$;
