\i setup.sql
select plan(8);
create schema tap_error_info;
create table tap_error_info.t (id int constraint small check (id < 10), note text not null);

select has_function('background', 'pg_background_error_info', array['integer', 'bigint'], 'error_info takes a handle');
select function_returns('background', 'pg_background_error_info', array['integer', 'bigint'], 'pg_background_error', 'error_info returns one row');

select * from pg_background_launch($$insert into tap_error_info.t values (11, 'x')$$) \gset check_
select pg_background_wait(:check_pid, :check_cookie) \gset
select results_eq(
    format('select sqlstate, message, detail, schema_name, table_name, constraint_name from pg_background_error_info(%s, %s)', :check_pid, :check_cookie),
    $$values ('23514', 'new row for relation "t" violates check constraint "small"', 'Failing row contains (11, x).', 'tap_error_info', 't', 'small')$$,
    'it has every field of the error');
select * from pg_background_launch('insert into tap_error_info.t values (1, null)') \gset null_
select pg_background_wait(:null_pid, :null_cookie) \gset
select is((pg_background_error_info(:null_pid, :null_cookie)).column_name, 'note', 'the column, where one is at fault');
select * from pg_background_launch($$do 'begin raise exception ''mine'' using hint = ''try that''; end'$$) \gset hint_
select pg_background_wait(:hint_pid, :hint_cookie) \gset
select results_eq(
    format('select sqlstate, message, hint, context like %L from pg_background_error_info(%s, %s)', '%inline_code_block%', :hint_pid, :hint_cookie),
    $$values ('P0001', 'mine', 'try that', true)$$, 'hint and context');

select * from pg_background_launch('select 1') \gset well_
select pg_background_wait(:well_pid, :well_cookie) \gset
select ok(e is null, 'a job that went well has none') from pg_background_error_info(:well_pid, :well_cookie) e;
select throws_ok('select pg_background_error_info(1, 1)', '42704', null, 'an unknown handle is refused');
select * from pg_background_launch('vacuum tap_error_info.absent') \gset top_
select pg_background_wait(:top_pid, :top_cookie) \gset
select is((pg_background_error_info(:top_pid, :top_cookie)).sqlstate, '42P01', 'the error of a job at top level is kept, too');

drop schema tap_error_info cascade;
select * from finish();
