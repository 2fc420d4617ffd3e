-- pg_background_plpy @version@: psql -v ON_ERROR_STOP=1 -f install.sql, as a superuser, in the database that is to have it.
begin;
create extension if not exists plpython3u;
create extension if not exists dblink;
set local search_path = pg_catalog, pg_temp;
-- Uninstalling takes the schema away only if it comes from here.
do $sql$
begin
    perform set_config('pgbackground_installing.schema_is_new', (to_regnamespace('@extschema@') is null)::text, true);
end
$sql$;
do $sql$
declare
    grantee text;
begin
    if to_regnamespace('@extschema@') is not null then
        return;
    end if;
    create schema @extschema@;
    for grantee in
        select case a.grantee when 0 then 'public' else a.grantee::regrole::text end
          from pg_namespace n, aclexplode(n.nspacl) a
         where n.oid = '@extschema@'::regnamespace and a.grantee <> n.nspowner
    loop
        -- Default privileges may have given it to others.
        execute format('revoke all on schema @extschema@ from %s', grantee);
    end loop;
end
$sql$;
