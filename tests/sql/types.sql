\i setup.sql
select plan(15);

create function pg_temp.columns_of(type text) returns text language sql as $$
    select string_agg(attname || ' ' || atttypid::regtype, ', ' order by attnum)
      from pg_attribute where attrelid = ('background.' || type)::regclass and attnum > 0 and not attisdropped
$$;
select is(pg_temp.columns_of('pg_background_handle'), 'pid integer, cookie bigint', 'a handle is pid and cookie');
select is(pg_temp.columns_of('pg_background_stats'),
    'workers_launched bigint, workers_completed bigint, workers_failed bigint, workers_canceled bigint, workers_timed_out bigint, '
    'workers_active integer, avg_execution_ms double precision, max_workers integer', 'stats has the columns of pg_background');
select is(pg_temp.columns_of('pg_background_progress_info'), 'progress_pct integer, progress_msg text', 'so has progress_info');
select is(pg_temp.columns_of('pg_background_result_info'),
    'row_count bigint, command_tag text, completed boolean, has_error boolean, started_at timestamp with time zone, finished_at timestamp with time zone',
    'so has result_info');
select is(pg_temp.columns_of('pg_background_error'),
    'sqlstate text, message text, detail text, hint text, context text, schema_name text, table_name text, column_name text, constraint_name text',
    'so has error');
select is(pg_temp.columns_of('pg_background_outcome'),
    'pid integer, cookie bigint, state text, consumed boolean, completed boolean, has_error boolean, row_count bigint, command_tag text, '
    'sqlstate text, error_message text, label text, launched_at timestamp with time zone', 'so has outcome');
select is(pg_temp.columns_of('pg_background_run_result'),
    pg_temp.columns_of('pg_background_outcome') || ', timed_out boolean, elapsed_ms bigint', 'run_result is the outcome and two columns');

select is_empty(
    $$select typname from pg_type where typnamespace = 'background'::regnamespace and typtype = 'c' and starts_with(typname, 'pg_background')
         and coalesce(obj_description(oid, 'pg_type'), obj_description(typrelid, 'pg_class')) is null$$,
    'every public type, table and view has a comment');
select is_empty(
    $$select proname from pg_proc where pronamespace = 'background'::regnamespace and not starts_with(proname, '_') and obj_description(oid, 'pg_proc') is null$$,
    'every public function has a comment');
select is_empty(
    $$select proname from pg_proc where pronamespace = 'background'::regnamespace and prosecdef and proconfig is null$$,
    'every function with the owner''s rights pins its search_path');

select ok(starts_with(coalesce(obj_description(oid, 'pg_proc'), ''), 'Deprecated'), proname || ' is there, as an old name')
  from pg_proc
 where pronamespace = 'background'::regnamespace
   and proname = any (array['pg_background_launch_v2', 'pg_background_result_v2', 'pg_background_cancel_v2_grace', 'pg_background_wait_v2_timeout', 'pg_background_progress'])
 order by proname;

select * from finish();
