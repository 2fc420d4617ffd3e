\i setup.sql
select plan(11);
create schema tap_detach;
create table tap_detach.t (id int);

select has_function('background', 'pg_background_detach', array['integer', 'bigint'], 'detach takes a handle');
select function_returns('background', 'pg_background_detach', array['integer', 'bigint'], 'void', 'detach returns nothing');

-- the job waits for our lock
select pg_advisory_lock(1771) \gset
select * from pg_background_launch('select pg_advisory_xact_lock(1771); insert into tap_detach.t values (1)') \gset
select lives_ok(format('select pg_background_detach(%s, %s)', :pid, :cookie), 'a running job can be detached');
select is_empty(format('select from pg_background_list where cookie = %s', :cookie), 'this session no longer lists it');
select is((pg_background_outcome(:pid, :cookie)).state, 'running', 'it goes on');
select pg_advisory_unlock(1771) \gset
select is(pg_background_wait(:pid, :cookie, 10000), true, 'it can still be waited for by its handle');
select isnt_empty('select from tap_detach.t', 'it has its effect');
select is((pg_background_outcome(:pid, :cookie)).state, 'stopped', 'its outcome is kept');

select * from pg_background_launch('select 1') \gset rows_
select pg_background_wait(:rows_pid, :rows_cookie) \gset
select pg_background_detach(:rows_pid, :rows_cookie) \gset
select throws_ok(format('select * from pg_background_result(%s, %s) as (i int)', :rows_pid, :rows_cookie), '55000', null, 'its rows are not: result is refused');
select lives_ok(format('select pg_background_detach(%s, %s)', :rows_pid, :rows_cookie), 'a second detach does no harm');

select throws_ok('select pg_background_detach(1, 1)', '42704', null, 'an unknown handle is refused');

drop schema tap_detach cascade;
select * from finish();
