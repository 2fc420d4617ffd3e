-- The names of pg_background 1.6 to 1.10: each is the function of the new name under the old one.
do $sql$
declare
    old record;
begin
    for old in
        select p.oid, p.proname as name, p.proname || '_v2' as old_name
          from pg_catalog.pg_proc p
         where p.pronamespace = '@extschema@'::regnamespace
           and p.prokind = 'f'
           and p.proname = any (array[
               'pg_background_cancel', 'pg_background_cancel_all', 'pg_background_cancel_by_label', 'pg_background_detach',
               'pg_background_detach_all', 'pg_background_drain', 'pg_background_error_info', 'pg_background_full_sql',
               'pg_background_get_progress', 'pg_background_launch', 'pg_background_list', 'pg_background_outcome',
               'pg_background_purge', 'pg_background_result', 'pg_background_result_info', 'pg_background_run',
               'pg_background_run_query', 'pg_background_stats', 'pg_background_submit', 'pg_background_wait',
               'pg_background_wait_any'])
        union all
        select '@extschema@.pg_background_cancel(int4, int8, int4)'::regprocedure, 'pg_background_cancel', 'pg_background_cancel_v2_grace'
        union all
        select '@extschema@.pg_background_wait(int4, int8, int4)'::regprocedure, 'pg_background_wait', 'pg_background_wait_v2_timeout'
        union all
        select '@extschema@.pg_background_report_progress(int4, text)'::regprocedure, 'pg_background_report_progress', 'pg_background_progress'
        union all
        select '@extschema@.pg_background_grant_privileges(text, bool)'::regprocedure, 'pg_background_grant_privileges', 'grant_pg_background_privileges'
        union all
        select '@extschema@.pg_background_revoke_privileges(text, bool)'::regprocedure, 'pg_background_revoke_privileges', 'revoke_pg_background_privileges'
    loop
        execute pg_catalog.replace(
            pg_catalog.pg_get_functiondef(old.oid), '.' || old.name || '(', '.' || old.old_name || '(');
        execute pg_catalog.format(
            'comment on function %s is %L',
            pg_catalog.replace(old.oid::regprocedure::text, old.name || '(', old.old_name || '('),
            'Deprecated: the name of pg_background 1.x for ' || old.name || '.');
    end loop;
end
$sql$;
