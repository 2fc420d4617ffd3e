\i setup.sql
select plan(4);

select has_function('background', 'pg_background_stats', array[]::text[], 'stats takes nothing');
select results_eq(
    'select workers_launched, workers_completed, workers_failed, workers_canceled, workers_timed_out, workers_active, avg_execution_ms, max_workers from pg_background_stats()',
    $$values (0::int8, 0::int8, 0::int8, 0::int8, 0::int8, 0, 0::float8, 16)$$, 'a session that has launched nothing has zeros');

select * from pg_background_launch('select 1') \gset well_
select * from pg_background_launch('select 1/0') \gset fails_
select * from pg_background_launch('select pg_sleep(60)') \gset canceled_
select * from pg_background_launch('select pg_sleep(60)') \gset live_
select pg_background_cancel(:canceled_pid, :canceled_cookie, 5000) \gset
select pg_background_wait(:well_pid, :well_cookie), pg_background_wait(:fails_pid, :fails_cookie) \gset
set pg_background.max_workers = 7;
select results_eq(
    'select workers_launched, workers_completed, workers_failed, workers_canceled, workers_timed_out, workers_active, max_workers from pg_background_stats()',
    $$values (4::int8, 1::int8, 1::int8, 1::int8, 0::int8, 1, 7)$$, 'jobs are counted by what has become of them');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset
select ok(avg_execution_ms > 0, 'the average time is that of the ended jobs') from pg_background_stats();

select * from finish();
