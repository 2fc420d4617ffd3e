-- Remove pg_background_plpy @version@: psql -v ON_ERROR_STOP=1 -f uninstall.sql, as a superuser.
-- The role pgbackground_role stays: it belongs to the cluster, and other databases may use it.
begin;
do $sql$
declare
    names_were_public bool;
begin
    if to_regclass('@extschema@.seal') is null then
        return;
    end if;
    execute 'select s.names_were_public from @extschema@.seal s' into names_were_public;
    if names_were_public then
        execute (
            select format('grant execute on function %I.dblink_get_connections() to public', n.nspname)
              from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'dblink');
    end if;
end
$sql$;
drop schema if exists @extschema@ cascade;
commit;
