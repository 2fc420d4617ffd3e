\i setup.sql
select plan(6);
create schema tap_messages;
create table tap_messages.t (id int);

select has_function('background', 'pg_background_messages', array['integer', 'bigint'], 'messages takes a handle');
select * from pg_background_launch('vacuum (verbose) tap_messages.t') \gset
select pg_background_wait(:pid, :cookie) \gset
select matches(string_agg(message, ' ' order by seq), 'vacuuming .*tap_messages\.t.* finished vacuuming', 'what VACUUM VERBOSE says is kept, in order')
  from pg_background_messages(:pid, :cookie);
create procedure tap_messages.talk() language plpgsql as $$
begin
    raise notice 'a notice' using detail = 'its detail', hint = 'its hint';
    commit;
    raise warning 'a warning';
end $$;
set client_min_messages = notice;
select * from pg_background_launch('call tap_messages.talk()') \gset talk_
set client_min_messages = warning;
select pg_background_wait(:talk_pid, :talk_cookie) \gset
select results_eq(
    format('select seq, severity, message, detail, hint from pg_background_messages(%s, %s)', :talk_pid, :talk_cookie),
    $$values (1, 'NOTICE', 'a notice', 'its detail', 'its hint'), (2, 'WARNING', 'a warning', null::text, null::text)$$,
    'every message has its severity, detail and hint');
select pg_background_detach(:talk_pid, :talk_cookie) \gset
select isnt_empty(format('select from pg_background_messages(%s, %s)', :talk_pid, :talk_cookie), 'they are kept when the job is detached');
select * from pg_background_launch('select 1') \gset inline_
select pg_background_wait(:inline_pid, :inline_cookie) \gset
select is_empty(format('select from pg_background_messages(%s, %s)', :inline_pid, :inline_cookie), 'an inline job has none');
select throws_ok('select * from pg_background_messages(1, 1)', '42704', null, 'an unknown handle is refused');

drop schema tap_messages cascade;
select * from finish();
