\i setup.sql
select plan(8);
create schema tap_await;
create table tap_await.t as select g as id from generate_series(1, 100) g;

select has_function('background', 'pg_background_await', array['integer', 'bigint', 'integer'], 'await takes a handle and a time in ms');
select is(prokind, 'p', 'await is a procedure') from pg_proc where oid = 'pg_background_await(int4, int8, int4)'::regprocedure;

-- CALL stands alone here: inside a transaction there is nothing that await could let go of.
select * from pg_background_launch('create index concurrently t_id on tap_await.t (id)') \gset index_
call pg_background_await(:index_pid, :index_cookie);
select has_index('tap_await', 't', 't_id', 'await waits for CREATE INDEX CONCURRENTLY');
select is((pg_background_outcome(:index_pid, :index_cookie)).state, 'stopped', 'which has ended well then');

select * from pg_background_launch('select pg_sleep(60)') \gset sleeper_
select is(
    (pg_background_run(format('call background.pg_background_await(%s, %s, 20)', :sleeper_pid, :sleeper_cookie))).sqlstate,
    '57014', 'await raises 57014 when its time is over');
select throws_ok(format('call pg_background_await(%s, %s)', :sleeper_pid, :sleeper_cookie), '2D000', null, 'inside a transaction await is refused');
select throws_ok('call pg_background_await(1, 1)', '42704', null, 'an unknown handle is refused');
select throws_ok(format('call pg_background_await(%s, %s)', :sleeper_pid, :sleeper_cookie # 1), '55000', null, 'the worker''s pid with another cookie is refused');
select pg_background_cancel(:sleeper_pid, :sleeper_cookie, 5000) \gset

drop schema tap_await cascade;
select * from finish();
