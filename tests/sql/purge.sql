\i setup.sql
select plan(4);

select has_function('background', 'pg_background_purge', array[]::text[], 'purge takes nothing');
select * from pg_background_launch('select 1') \gset well_
select * from pg_background_launch('select 1/0') \gset fails_
select * from pg_background_launch('select pg_sleep(60)') \gset live_
select pg_background_wait(:well_pid, :well_cookie), pg_background_wait(:fails_pid, :fails_cookie) \gset
select is(pg_background_purge(), 2, 'it detaches the ended jobs and says how many');
select results_eq('select cookie from pg_background_list', array[:live_cookie::int8], 'the others stay in the list');
select is(pg_background_purge(), 0, 'a second time there is nothing to do');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset

select * from finish();
