-- Who may call what: nothing for PUBLIC, everything a user needs for pgbackground_role; the helpers that grant it are the DBA's.
-- The tables belong to the owner alone; the functions that touch them check who asks.
do $sql$
declare
    -- Called by users' sessions and by their workers, beside the public verbs. Everything else is for the owner.
    internals constant text[] := array[
        '_load', '_module', '_door', '_show_all', '_await_lock', '_waits_for_me', '_is_dead',
        '_register', '_claim', '_store_rows', '_record', '_note_success', '_settle', '_commit', '_leave_snapshot', '_run', '_run_one', '_with_params', '_becomes_top_level', '_take_queued', '_next_job', '_queued_settings', '_in_the_way',
        '_start_queued', '_refuse_queued', '_guard', '_is_overdue', '_keep_time_outs', '_run_top_level', '_apply_settings', '_perform',
        '_keep_rows', '_plain_literal', '_execute', '_last_progress', '_rest',
        '_look', '_cancel', '_terminate', '_close_dead', '_detach', '_executor_starts', '_as_told', '_now', '_chunk', '_in_english', '_probe', '_learned', '_typed_rows', '_open_result', '_open_query',
        '_records', '_literals', '_all_read',
        '_columns', '_without_values', '_kind', '_answer', '_messages', '_retire_after', '_connections_left'];
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature, p.proname as name
          from pg_catalog.pg_proc p
         where p.pronamespace = '@extschema@'::regnamespace
    loop
        execute format('revoke all on routine %s from public', routine.signature);
        if not starts_with(routine.name, '_') and routine.name not like '%privileges' or routine.name = any (internals) then
            execute format('grant execute on routine %s to pgbackground_role', routine.signature);
        end if;
    end loop;
end
$sql$;

do $sql$
declare
    each record;
begin
    for each in
        select t.oid::regtype as name, starts_with(t.typname, 'pg_background_') as public
          from pg_catalog.pg_type t join pg_catalog.pg_class c on c.oid = t.typrelid
         where t.typnamespace = '@extschema@'::regnamespace and c.relkind = 'c'
    loop
        execute format('revoke all on type %s from public', each.name);
        if each.public then
            execute format('grant usage on type %s to pgbackground_role', each.name);
        end if;
    end loop;
end
$sql$;

grant usage on schema @extschema@ to pgbackground_role;
grant select on @extschema@.pg_background_list, @extschema@.pg_background_activity,
    @extschema@.pg_background_jobs, @extschema@.pg_background_metrics to pgbackground_role;

-- Monitoring needs no more than the numbers.
grant usage on schema @extschema@ to pg_monitor;
grant select on @extschema@.pg_background_metrics to pg_monitor;
grant execute on function @extschema@._as_told(@extschema@.job), @extschema@._now(int8, int8), @extschema@._connections_left() to pg_monitor;

-- Links are found by name, and all code of a session can list the names: not any longer.
do $sql$
declare
    dblink_schema text := (
        select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
         where e.extname = 'dblink');
begin
    update @extschema@.seal
       set names_were_public = has_function_privilege('public', format('%I.dblink_get_connections()', dblink_schema), 'execute');
    execute format('revoke execute on function %I.dblink_get_connections() from public', dblink_schema);
end
$sql$;
