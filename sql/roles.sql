-- The role that holds every right a user needs. Roles belong to the cluster: it outlives the schema.
do $sql$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgbackground_role') then
        create role pgbackground_role nologin;
    end if;
end
$sql$;
