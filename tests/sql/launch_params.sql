\i setup.sql
select plan(8);

select has_function('background', 'pg_background_launch_params', array['text', 'jsonb', 'text'], 'launch_params takes SQL, values and a label');
select * from pg_background_launch_params('select $1::int + 1, $2, $3::text is null', '[41, "it''s; drop", null]', 'with values') \gset
select results_eq(
    format('select * from pg_background_result(%s, %s) as (i int, t text, n bool)', :pid, :cookie),
    $$values (42, 'it''s; drop', true)$$, 'values are bound to $1, $2 ..., never part of the text');
select is((pg_background_outcome(:pid, :cookie)).label, 'with values', 'the label stays with the job');
select is(pg_background_full_sql(:pid, :cookie), 'select $1::int + 1, $2, $3::text is null', 'the text stays as it was given');
select throws_ok($$select pg_background_launch_params('select $1', '{"a": 1}')$$, '22023', null, 'values that are no array are refused');
select * from pg_background_launch_params('select $1::int', '["many"]') \gset wrong_
select pg_background_wait(:wrong_pid, :wrong_cookie) \gset
select is((pg_background_outcome(:wrong_pid, :wrong_cookie)).sqlstate, '22P02', 'a value that its type does not take is the job''s error');
select throws_ok($$select pg_background_launch_params('select 1; select $1', '[1]')$$, '0A000', null, 'more than one statement is refused');
select ok(h is null, 'a null text gives a null handle') from pg_background_launch_params(null, '[]') h;

select * from finish();
