\i setup.sql
select plan(9);

select has_function('background', 'pg_background_list', array[]::text[], 'list takes nothing');
select has_view('background', 'pg_background_list', 'there is a view over it');
select columns_are('background', 'pg_background_list',
    array['pid', 'cookie', 'launched_at', 'user_id', 'queue_size', 'state', 'sql_preview', 'last_error', 'consumed', 'label'],
    'the view has the columns of pg_background');
select is_empty('select from pg_background_list', 'a session that has launched nothing lists nothing');

select * from pg_background_launch('select 1 as ' || repeat('x', 200), 65536, 'long') \gset long_
select * from pg_background_launch('select 1/0', 128) \gset fails_
select pg_background_wait(:long_pid, :long_cookie), pg_background_wait(:fails_pid, :fails_cookie) \gset
select results_eq(
    'select cookie, user_id, queue_size, state, last_error, consumed, label from pg_background_list',
    format($$values (%1$s::int8, %2$s::oid, 65536, 'stopped', null::text, false, 'long'),
                    (%3$s::int8, %2$s::oid, 128, 'error', 'division by zero', false, null::text)$$,
           :long_cookie, 'current_user::regrole', :fails_cookie),
    'jobs are listed in order of launch, with state and error');
select is(length(sql_preview), 120, 'the preview of the SQL has 120 characters') from pg_background_list where cookie = :long_cookie;
select * from pg_background_result(:long_pid, :long_cookie) as (i int) \gset
select is(consumed, true, 'a job whose result was read is consumed') from pg_background_list where cookie = :long_cookie;
select results_eq(
    'select cookie, state from pg_background_list',
    $$select cookie, state from pg_background_list() as (pid int4, cookie int8, launched_at timestamptz, user_id oid,
        queue_size int4, state text, sql_preview text, last_error text, consumed bool, label text)$$,
    'the function returns what the view shows');
select pg_background_detach(:long_pid, :long_cookie) \gset
select results_eq('select cookie from pg_background_list', array[:fails_cookie::int8], 'detached jobs are gone from the list');

select * from finish();
