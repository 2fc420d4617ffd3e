\i setup.sql
select plan(17);
create schema tap_execute;
create table tap_execute.t (id int unique);

select has_function('background', 'pg_background_execute', array['text', 'jsonb', 'integer', 'text'], 'execute takes SQL, parameters, a time in ms and a label');
select function_returns('background', 'pg_background_execute', array['text', 'jsonb', 'integer', 'text'], 'bigint', 'and returns a number');

select is(pg_background_execute('insert into tap_execute.t values (1), (2)'), 2::int8, 'it returns the number of rows');
select is((select count(*) from tap_execute.t), 2::int8, 'which are there');
select is(pg_background_execute('create table tap_execute.u ()'), 0::int8, 'a statement without rows gives 0');
select is(pg_background_execute(''), 0::int8, 'and so does a text without statements');
select is(pg_background_execute('vacuum tap_execute.t'), 0::int8, 'a statement at top level can be executed');
select is(pg_background_execute('insert into tap_execute.t select x::int from unnest(array[$1, $2]) x', '["3", 4]'), 2::int8, 'parameters are bound');
select is_empty('select from pg_background_list', 'it leaves nothing in the list');
select is((select label from pg_background_jobs where label = 'an audit'), null, 'no job has the label yet');
select is(pg_background_execute('select 1', label => 'an audit'), 1::int8, 'a label is taken');
select is((select state from pg_background_jobs where label = 'an audit'), 'stopped', 'and the outcome is kept with it');

select throws_ok($$select pg_background_execute('insert into tap_execute.t values (1)')$$, '23505', null, 'the job''s own error is raised');
select throws_ok('select pg_background_execute(null)', '22004', 'pg_background: the SQL must not be null', 'a null is refused');
select is(
    pg_temp.sqlstate_of($$select pg_background_execute('select pg_sleep(60)', timeout_ms => 50)$$), '57014',
    'after its time 57014 is raised');

begin;
insert into tap_execute.t values (10);
select is(pg_background_execute('insert into tap_execute.t values (11)'), 1::int8, 'it can be called inside a transaction');
rollback;
select results_eq('select id from tap_execute.t where id > 4', array[11], 'and what it did stands when that rolls back');

drop schema tap_execute cascade;
select * from finish();
