-- One installation a database: sessions share the names of settings and roles, and could not tell two apart.
-- Looked for by what no user can make, a function in untrusted Python.
do $sql$
declare
    there pg_catalog.regnamespace;
begin
    select p.pronamespace into there
      from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
     where p.proname operator(pg_catalog.=) 'pg_background_check' and l.lanname operator(pg_catalog.=) 'plpython3u'
     limit 1;
    if found then
        raise exception using errcode = 'duplicate_object',
            message = pg_catalog.format('pg_background_plpy is already installed in this database, in schema %s', there),
            hint = case when there operator(pg_catalog.=) pg_catalog.to_regnamespace('@extschema@')
                        then 'To install it anew, or another version, remove this one with its uninstall.sql first; docs/operations.md, "Upgrades", says what to keep.'
                        else 'One installation serves all users of a database: grant them pgbackground_role, and put its schema on their search_path. To move it, remove it there first.' end;
    end if;
end
$sql$;
