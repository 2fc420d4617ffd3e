-- Everything that is not a public name lives in a schema of its own, which stands on nobody's search path. There is one in a database.
do $sql$
begin
    if pg_catalog.to_regnamespace('pgbackground') is not null then
        raise exception using
            errcode = '42P06',
            message = 'pg_background_plpy needs a schema called pgbackground for itself, and there is one already',
            hint = 'Look what is in it, and rename or drop it.';
    end if;
end
$sql$;
create schema pgbackground;
do $sql$
declare
    grantee text;
begin
    for grantee in
        select case a.grantee when 0 then 'public' else a.grantee::pg_catalog.regrole::text end
          from pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
         where n.oid = 'pgbackground'::pg_catalog.regnamespace and a.grantee <> n.nspowner
    loop
        -- Default privileges may have given it to others.
        execute pg_catalog.format('revoke all on schema pgbackground from %s', grantee);
    end loop;
end
$sql$;
comment on schema pgbackground is 'Internals of pg_background_plpy: the registry, the worker''s side, the Python modules. Nothing here is for direct use.';
