\i setup.sql
select plan(8);

select has_function('background', 'pg_background_result_info', array['integer', 'bigint'], 'result_info takes a handle');
select function_returns('background', 'pg_background_result_info', array['integer', 'bigint'], 'pg_background_result_info', 'result_info returns one row');

select * from pg_background_launch('select g from generate_series(1, 7) g') \gset
select pg_background_wait(:pid, :cookie) \gset
select results_eq(
    format('select row_count, command_tag, completed, has_error from pg_background_result_info(%s, %s)', :pid, :cookie),
    $$values (7::int8, 'SELECT', true, false)$$, 'it has rows and bare tag of a success');
select ok(started_at <= finished_at and finished_at <= clock_timestamp(), 'and when it began and ended')
  from pg_background_result_info(:pid, :cookie);

select * from pg_background_launch('select 1/0') \gset fails_
select pg_background_wait(:fails_pid, :fails_cookie) \gset
select results_eq(
    format('select row_count, command_tag, completed, has_error from pg_background_result_info(%s, %s)', :fails_pid, :fails_cookie),
    $$values (0::int8, '', true, true)$$, 'a failure has neither rows nor tag');

select * from pg_background_launch('select pg_sleep(60)') \gset live_
select results_eq(
    format('select row_count, command_tag, completed, has_error, finished_at from pg_background_result_info(%s, %s)', :live_pid, :live_cookie),
    $$values (0::int8, '', false, false, null::timestamptz)$$, 'a running job is not completed and has no end');
select throws_ok(format('select pg_background_result_info(%s, %s)', :live_pid, :live_cookie # 1), '55000', null, 'the worker''s pid with another cookie is refused');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset
select throws_ok('select pg_background_result_info(1, 1)', '42704', null, 'an unknown handle is refused');

select * from finish();
