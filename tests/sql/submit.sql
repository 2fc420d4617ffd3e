\i setup.sql
select plan(8);
create schema tap_submit;
create table tap_submit.effect (note text);

select has_function('background', 'pg_background_submit', array['text', 'integer', 'text'], 'submit takes what launch takes');
select function_returns('background', 'pg_background_submit', array['text', 'integer', 'text'], 'pg_background_handle', 'submit returns a handle');

select * from pg_background_submit($$insert into tap_submit.effect values ('here') returning note$$, label => 'fire') \gset
select is(pg_background_wait(:pid, :cookie), true, 'a submitted job can be waited for');
select results_eq('select note from tap_submit.effect', array['here'], 'it has its effect');
select results_eq(
    format('select state, row_count, label from pg_background_outcome(%s, %s)', :pid, :cookie),
    $$values ('stopped', 1::int8, 'fire')$$, 'its outcome is known, with the number of rows');
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (note text)', :pid, :cookie), '0A000', null,
    'its rows are not kept: result is refused');
select ok(h is null, 'a null text gives a null handle') from pg_background_submit(null) h;
select throws_ok('select pg_background_submit($$select 1$$, 1)', '22023', null, 'the queue size is checked as for launch');

drop schema tap_submit cascade;
select * from finish();
