\i setup.sql
select plan(5);

select has_function('background', 'pg_background_cancel_all', array[]::text[], 'cancel_all takes nothing');
select is(pg_background_cancel_all(), 0, 'a session without jobs has none to cancel');

select * from pg_background_launch('select 1') \gset well_
select pg_background_wait(:well_pid, :well_cookie) \gset
select count(pg_background_launch('select pg_sleep(60)')) from generate_series(1, 3) \gset
select is(pg_background_cancel_all(), 3, 'it cancels the live jobs and says how many');
select is(bool_and(pg_background_wait(pid, cookie, 10000)), true, 'they end') from pg_background_list;
select results_eq('select state, count(*) from pg_background_list group by state order by state',
    $$values ('canceled', 3::int8), ('stopped', 1)$$, 'canceled, and those that had ended are as they were');

select * from finish();
