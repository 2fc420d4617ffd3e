\i setup.sql
select plan(6);

select has_function('background', 'pg_background_drain', array['background.pg_background_handle[]', 'integer'], 'drain takes handles and a time in ms');

create temp table handle (n int, h pg_background_handle);
insert into handle select 1, pg_background_launch('select 1');
insert into handle select 2, pg_background_launch('select 1/0');
insert into handle select 3, pg_background_launch('select g from generate_series(1, 3) g');
prepare states as
    select o.cookie, o.state, o.row_count from pg_background_drain((select array_agg(h order by n desc) from handle)) o;
select results_eq('states',
    $$select (h).cookie, s, r from handle join (values (1, 'stopped', 1::int8), (2, 'error', 0), (3, 'stopped', 3)) v (n, s, r) using (n) order by n desc$$,
    'it returns one outcome for each handle, in their order');
select is_empty('select from pg_background_list', 'the ended jobs are detached');

select * from pg_background_launch('select pg_sleep(60)') \gset
select results_eq(
    format('select state from pg_background_drain(array[row(%s, %s)::pg_background_handle], 50)', :pid, :cookie),
    array['running'], 'when the time is over the others are told as they are');
select isnt_empty(format('select from pg_background_list where cookie = %s', :cookie), 'and stay in the list');
select pg_background_cancel(:pid, :cookie, 5000) \gset
select results_eq(
    'select state from pg_background_drain(array[row(1, 1)::pg_background_handle, null])',
    array[null]::text[], 'a handle that nothing is known of gives nulls, a null is passed over');

select * from finish();
