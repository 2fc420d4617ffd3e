\i setup.sql
select plan(12);
create schema tap_run;
create table tap_run.t (id int);

select has_function('background', 'pg_background_run', array['text', 'integer', 'integer', 'text'], 'run takes SQL, a queue size, a time in ms and a label');
select function_returns('background', 'pg_background_run', array['text', 'integer', 'integer', 'text'], 'pg_background_run_result', 'run returns one row');

select results_eq(
    $$select state, completed, has_error, row_count, command_tag, sqlstate, label, timed_out from pg_background_run('insert into tap_run.t values (1), (2)', label => 'two')$$,
    $$values ('stopped', true, false, 2::int8, 'INSERT', null::text, 'two', false)$$, 'it returns the outcome of the job that has ended');
select is((select count(*) from tap_run.t), 2::int8, 'which has had its effect');
select ok(elapsed_ms between 0 and 60000, 'and says how long that took') from pg_background_run('select 1');
select is_empty('select from pg_background_list', 'it leaves nothing in the list');
select results_eq(
    $$select state, sqlstate, error_message, timed_out from pg_background_run('select 1/0')$$,
    $$values ('error', '22012', 'division by zero', false)$$, 'the job''s error is in the row, not raised');
select results_eq(
    $$select state, sqlstate, timed_out from pg_background_run('select pg_sleep(60)', timeout_ms => 50)$$,
    $$values ('canceled', '57014', true)$$, 'after its time the job is canceled, and timed_out says why');
select ok(r is null, 'a null text gives a null row') from pg_background_run(null) r;
select throws_ok('select pg_background_run($$select 1$$, 1)', '22023', null, 'the queue size is checked as for launch');

begin;
insert into tap_run.t values (3);
select is((pg_background_run('insert into tap_run.t values (4)')).state, 'stopped', 'a job can be run inside a transaction');
rollback;
select results_eq('select id from tap_run.t where id > 2', array[4], 'and stands when that rolls back');

drop schema tap_run cascade;
select * from finish();
