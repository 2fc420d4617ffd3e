\i setup.sql
select plan(14);
create schema tap_wait;
create table tap_wait.t (id int);
insert into tap_wait.t values (1);

select has_function('background', 'pg_background_wait', array['integer', 'bigint', 'integer'], 'wait takes a handle and a time in ms');

select * from pg_background_launch('insert into tap_wait.t values (2)') \gset
select is(pg_background_wait(:pid, :cookie), true, 'wait returns true when the job has ended');
select isnt_empty('select from tap_wait.t where id = 2', 'what the job did is visible then');
select is(pg_background_wait(:pid, :cookie), true, 'a job that has ended can be waited for again');

select * from pg_background_launch('select 1/0') \gset fails_
select is(pg_background_wait(:fails_pid, :fails_cookie), true, 'a job that fails has ended, too');

select * from pg_background_launch('select pg_sleep(60)') \gset sleeper_
select is(pg_background_wait(:sleeper_pid, :sleeper_cookie, 20), false, 'wait returns false when its time is over');
select is((pg_background_outcome(:sleeper_pid, :sleeper_cookie)).state, 'running', 'the job goes on then');
select throws_ok(format('select pg_background_wait(%s, %s)', :sleeper_pid, :sleeper_cookie # 1), '55000', null, 'the worker''s pid with another cookie is refused');
set lock_timeout = '50ms';
select throws_ok(format('select pg_background_wait(%s, %s)', :sleeper_pid, :sleeper_cookie), '55P03', null, 'lock_timeout ends a wait');
reset lock_timeout;
set statement_timeout = '50ms';
select is(pg_temp.sqlstate_of(format('select pg_background_wait(%s, %s)', :sleeper_pid, :sleeper_cookie)), '57014', 'statement_timeout ends a wait');
set statement_timeout = '20s';
select pg_background_cancel(:sleeper_pid, :sleeper_cookie, 5000) \gset
select is(pg_background_wait(:sleeper_pid, :sleeper_cookie), true, 'a canceled job has ended, too');

select throws_ok('select pg_background_wait(1, 1)', '42704', null, 'an unknown handle is refused');

begin;
update tap_wait.t set id = 3 where id = 1;
select * from pg_background_launch('update tap_wait.t set id = 4 where id = 1') \gset dead_
select throws_ok(format('select pg_background_wait(%s, %s)', :dead_pid, :dead_cookie), '40P01', null, 'a job that waits for its waiter''s row lock is found');
rollback;
select is(pg_background_wait(:dead_pid, :dead_cookie), true, 'and ends when the lock is gone');

drop schema tap_wait cascade;
select * from finish();
