\i setup.sql
select plan(11);

select has_function('background', 'pg_background_outcome', array['integer', 'bigint'], 'outcome takes a handle');
select function_returns('background', 'pg_background_outcome', array['integer', 'bigint'], 'pg_background_outcome', 'outcome returns one row');

select * from pg_background_launch('select g from generate_series(1, 5) g', label => 'five') \gset
select pg_background_wait(:pid, :cookie) \gset
prepare five as
    select pid, cookie, state, consumed, completed, has_error, row_count, command_tag, sqlstate, error_message, label
      from pg_background_outcome(:pid, :cookie);
select results_eq('five',
    format($$values (%s, %s::int8, 'stopped', false, true, false, 5::int8, 'SELECT', null::text, null::text, 'five')$$, :pid, :cookie),
    'a success has its number of rows and its bare tag');
select ok(launched_at between now() - interval '1 minute' and clock_timestamp(), 'and the time of its launch')
  from pg_background_outcome(:pid, :cookie);
select count(*) from pg_background_result(:pid, :cookie) as (g int) \gset
select is((pg_background_outcome(:pid, :cookie)).consumed, true, 'it is consumed when its result was read');

select * from pg_background_launch('select 1/0') \gset fails_
select pg_background_wait(:fails_pid, :fails_cookie) \gset
select results_eq(
    format('select state, completed, has_error, row_count, command_tag, sqlstate, error_message from pg_background_outcome(%s, %s)', :fails_pid, :fails_cookie),
    $$values ('error', true, true, 0::int8, '', '22012', 'division by zero')$$, 'a failure has its SQLSTATE and message');

select * from pg_background_launch('select pg_sleep(60)') \gset live_
select results_eq(
    format('select state, completed, has_error, row_count, command_tag, sqlstate from pg_background_outcome(%s, %s)', :live_pid, :live_cookie),
    $$values ('running', false, false, 0::int8, '', null::text)$$, 'a running job is not completed');
select ok(state is null and completed is null and launched_at is null, 'the worker''s pid with another cookie gives nulls')
  from pg_background_outcome(:live_pid, :live_cookie # 1);
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset

select ok(state is null and completed is null and launched_at is null, 'an unknown handle gives nulls, and no error')
  from pg_background_outcome(1, 1);
select ok(o is null, 'so does a null handle') from pg_background_outcome(null, null) o;

-- A deferred constraint is part of the job: its failure is the job's outcome.
create schema tap_outcome;
create table tap_outcome.parent (id int primary key);
create table tap_outcome.child (id int references tap_outcome.parent deferrable initially deferred);
select * from pg_background_launch('insert into tap_outcome.child values (1)') \gset deferred_
select pg_background_wait(:deferred_pid, :deferred_cookie) \gset
select is((pg_background_outcome(:deferred_pid, :deferred_cookie)).sqlstate, '23503', 'a deferred constraint that fails at the end is the job''s error');

drop schema tap_outcome cascade;
select * from finish();
