-- Who may call what: nothing for PUBLIC, everything a user needs for pgbackground_role; the helpers that grant it are the DBA's.
-- The tables belong to the owner alone, whatever rights a role has on all tables: row level security without policies lets nobody else see a row.
do $sql$
declare
    routine record;
begin
    for routine in
        select p.oid::pg_catalog.regprocedure as signature, p.proname as name, p.pronamespace = 'pgbackground'::pg_catalog.regnamespace as internal
          from pg_catalog.pg_proc p
         where p.pronamespace in ('@extschema@'::pg_catalog.regnamespace, 'pgbackground'::pg_catalog.regnamespace)
           and (p.pronamespace = 'pgbackground'::pg_catalog.regnamespace or p.proname like '%pg\_background%')
    loop
        execute pg_catalog.format('revoke all on routine %s from public', routine.signature);
        if (case when routine.internal then exists (select from pgbackground.callable c where c.name = routine.name)
                 else routine.name !~ '(privileges|at_login|import_cron)$' end) then
            execute pg_catalog.format('grant execute on routine %s to pgbackground_role', routine.signature);
        end if;
    end loop;
end
$sql$;

do $sql$
declare
    each record;
begin
    for each in
        select t.oid::pg_catalog.regtype as name, pg_catalog.starts_with(t.typname, 'pg_background_') as public
          from pg_catalog.pg_type t join pg_catalog.pg_class c on c.oid = t.typrelid
         where t.typnamespace in ('@extschema@'::pg_catalog.regnamespace, 'pgbackground'::pg_catalog.regnamespace)
           and (t.typnamespace = 'pgbackground'::pg_catalog.regnamespace or pg_catalog.starts_with(t.typname, 'pg_background_'))
           and c.relkind = 'c'
    loop
        execute pg_catalog.format('revoke all on type %s from public', each.name);
        if each.public then
            execute pg_catalog.format('grant usage on type %s to pgbackground_role', each.name);
        end if;
    end loop;
end
$sql$;

-- Default privileges of whoever installs may have given these objects to others.
do $sql$
declare
    given record;
begin
    for given in
        select distinct o.name, case a.grantee when 0 then 'public' else a.grantee::pg_catalog.regrole::text end as grantee
          from (select case c.relkind when 'S' then 'sequence ' else 'table ' end || c.oid::pg_catalog.regclass as name, c.relowner as owner, c.relacl as acl
                  from pg_catalog.pg_class c where c.relkind in ('r', 'v', 'S') and (c.relnamespace = 'pgbackground'::pg_catalog.regnamespace
                       or c.relnamespace = '@extschema@'::pg_catalog.regnamespace and pg_catalog.starts_with(c.relname, 'pg_background_'))
                union all
                select 'routine ' || p.oid::pg_catalog.regprocedure, p.proowner, p.proacl
                  from pg_catalog.pg_proc p where p.pronamespace = 'pgbackground'::pg_catalog.regnamespace
                       or p.pronamespace = '@extschema@'::pg_catalog.regnamespace and p.proname like '%pg\_background%'
                union all
                select 'type ' || t.oid::pg_catalog.regtype, t.typowner, t.typacl
                  from pg_catalog.pg_type t where t.typnamespace = 'pgbackground'::pg_catalog.regnamespace
                       or t.typnamespace = '@extschema@'::pg_catalog.regnamespace and pg_catalog.starts_with(t.typname, 'pg_background_')) o,
               pg_catalog.aclexplode(o.acl) a
         where a.grantee <> o.owner
           and a.grantee <> 'pgbackground_role'::pg_catalog.regrole
    loop
        execute pg_catalog.format('revoke all on %s from %s', given.name, given.grantee);
    end loop;
end
$sql$;

-- Members of pg_read_all_data and pg_write_all_data have rights on every table. Without a policy they see and change no row;
-- the owner, and so the views and the functions that run as the owner, do.
do $sql$
declare
    each record;
begin
    for each in
        select c.oid::pg_catalog.regclass as name
          from pg_catalog.pg_class c
         where c.relkind = 'r' and (c.relnamespace = 'pgbackground'::pg_catalog.regnamespace
               or c.relnamespace = '@extschema@'::pg_catalog.regnamespace and c.relname in ('pg_background_config', 'pg_background_limits'))
    loop
        execute pg_catalog.format('alter table %s enable row level security', each.name);
    end loop;
end
$sql$;

grant usage on schema @extschema@, pgbackground to pgbackground_role;
grant select on @extschema@.pg_background_list, @extschema@.pg_background_activity,
    @extschema@.pg_background_jobs, @extschema@.pg_background_schedules, @extschema@.pg_background_metrics,
    pgbackground.visible_job, pgbackground.visible_rows, pgbackground.visible_message to pgbackground_role;

-- Monitoring needs no more than the numbers.
grant usage on schema @extschema@, pgbackground to pg_monitor;
grant select on @extschema@.pg_background_metrics to pg_monitor;
grant execute on function @extschema@.pg_background_metrics_text(), pgbackground.home(), pgbackground.told(pgbackground.job),
    pgbackground.connections_left(), pgbackground.clock_seen(), pgbackground.failures_in_a_row(int8),
    pgbackground.owner_id(bool, oid, name), pgbackground.owner_name(bool, name) to pg_monitor;
-- And what the doctor says: of the logins, those of the monitor's own roles.
grant execute on function @extschema@.pg_background_check(), pgbackground.load(), pgbackground.module(text, int4), pgbackground.door() to pg_monitor;

-- Links are found by name, and all code of a session can list the names: not any longer.
do $sql$
declare
    dblink_schema text := (
        select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
         where e.extname = 'dblink');
begin
    update pgbackground.installation
       set names_were_public = pg_catalog.has_function_privilege('public', pg_catalog.format('%I.dblink_get_connections()', dblink_schema), 'execute');
    execute pg_catalog.format('revoke execute on function %I.dblink_get_connections() from public', dblink_schema);
end
$sql$;
