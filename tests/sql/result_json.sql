\i setup.sql
select plan(7);

select has_function('background', 'pg_background_result_json', array['integer', 'bigint'], 'result_json takes a handle');
select * from pg_background_launch($$select g as n, 'row ' || g as t, g > 1 as b, null::text as nothing from generate_series(1, 2) g$$) \gset
select results_eq(
    format('select * from pg_background_result_json(%s, %s)', :pid, :cookie),
    $$values ('{"n": 1, "t": "row 1", "b": false, "nothing": null}'::jsonb), ('{"n": 2, "t": "row 2", "b": true, "nothing": null}')$$,
    'every row is an object, in order, without a column list');
select * from pg_background_launch('select 1 as same, 2 as same, 3 as other') \gset same_
select results_eq(
    format('select * from pg_background_result_json(%s, %s)', :same_pid, :same_cookie),
    $$values ('{"same": [1, 2], "other": 3}'::jsonb)$$, 'a name that several columns share holds the array of their values');
select * from pg_background_launch($$create temp table t (i int)$$) \gset none_
select is_empty(format('select * from pg_background_result_json(%s, %s)', :none_pid, :none_cookie), 'a job without rows gives none');
select * from pg_background_launch('select 1/0') \gset fails_
select throws_ok(format('select * from pg_background_result_json(%s, %s)', :fails_pid, :fails_cookie), '22012', null, 'a failed job raises its error');
select * from pg_background_submit('select 1') \gset submitted_
select throws_ok(format('select * from pg_background_result_json(%s, %s)', :submitted_pid, :submitted_cookie), '0A000', null, 'the rows of a submitted job are not kept');
select throws_ok('select * from pg_background_result_json(1, 1)', '42704', null, 'an unknown handle is refused');

select * from finish();
