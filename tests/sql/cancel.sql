\i setup.sql
select plan(14);
create schema tap_cancel;
create table tap_cancel.t (id int);

select has_function('background', 'pg_background_cancel', array['integer', 'bigint', 'integer'], 'cancel takes a handle and a grace in ms');
select function_returns('background', 'pg_background_cancel', array['integer', 'bigint', 'integer'], 'void', 'cancel returns nothing');

select * from pg_background_launch('insert into tap_cancel.t values (1); select pg_sleep(60)') \gset
select lives_ok(format('select pg_background_cancel(%s, %s)', :pid, :cookie), 'a running job can be canceled');
select is(pg_background_wait(:pid, :cookie, 10000), true, 'it ends');
select results_eq(
    format('select state, completed, has_error, row_count, command_tag, sqlstate from pg_background_outcome(%s, %s)', :pid, :cookie),
    $$values ('canceled', true, true, 0::int8, '', '57014')$$, 'as canceled, with 57014');
select is_empty('select from tap_cancel.t', 'nothing of what it did is left');
select lives_ok(format('select pg_background_cancel(%s, %s)', :pid, :cookie), 'a second cancel does no harm');

select * from pg_background_launch('insert into tap_cancel.t values (2)') \gset done_
select pg_background_wait(:done_pid, :done_cookie) \gset
select pg_background_cancel(:done_pid, :done_cookie) \gset
select is((pg_background_outcome(:done_pid, :done_cookie)).state, 'stopped', 'a job that has ended well stays so');

-- A job that does not listen: it catches the cancel and goes on.
select * from pg_background_launch($$
    do 'begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end'
    $$) \gset deaf_
-- A cancel that comes before a job has begun ends it.
select set_config('tap.deaf', :'deaf_pid', false) \gset
do $$ begin
    while not exists (select from pg_stat_activity where pid = current_setting('tap.deaf')::int and wait_event = 'PgSleep') loop
        perform pg_sleep(0.005);
        perform pg_stat_clear_snapshot();
    end loop;
end $$;
select pg_background_cancel(:deaf_pid, :deaf_cookie) \gset
select is(pg_background_wait(:deaf_pid, :deaf_cookie, 100), false, 'a job that catches its cancel goes on');
select pg_background_cancel(:deaf_pid, :deaf_cookie, 100) \gset
select is(pg_background_wait(:deaf_pid, :deaf_cookie, 10000), true, 'after the grace its worker is ended');
select is((pg_background_outcome(:deaf_pid, :deaf_cookie)).state, 'canceled', 'and it counts as canceled');

select throws_ok('select pg_background_cancel(1, 1)', '42704', null, 'an unknown handle is refused');
select * from pg_background_launch('select pg_sleep(60)') \gset live_
select throws_ok(format('select pg_background_cancel(%s, %s)', :live_pid, :live_cookie # 1), '55000', null, 'the worker''s pid with another cookie is refused');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset
create table tap_cancel.big as select g as id from generate_series(1, 1000) g;
create function tap_cancel.slow(i int) returns int language plpgsql immutable as 'begin perform pg_sleep(1); return i; end';
select * from pg_background_launch('create index concurrently on tap_cancel.big (tap_cancel.slow(id))') \gset index_
select pg_background_cancel(:index_pid, :index_cookie, 5000) \gset
select is((pg_background_outcome(:index_pid, :index_cookie)).state, 'canceled', 'a job at top level can be canceled, too');

drop schema tap_cancel cascade;
select * from finish();
