\i setup.sql
select plan(4);

select has_function('background', 'pg_background_detach_all', array[]::text[], 'detach_all takes nothing');
select * from pg_background_launch('select 1') \gset well_
select * from pg_background_launch('select pg_sleep(60)') \gset live_
select pg_background_wait(:well_pid, :well_cookie) \gset
select is(pg_background_detach_all(), 2, 'it detaches every job of this session and says how many');
select is_empty('select from pg_background_list', 'the list is empty then');
select is((pg_background_outcome(:live_pid, :live_cookie)).state, 'running', 'and those that run go on');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset

select * from finish();
