\i setup.sql
select plan(8);

select has_function('background', 'pg_background_run_query', array['text', 'integer', 'integer', 'text', 'text'], 'run_query takes what run takes, and col_def');
select results_eq(
    $$select * from pg_background_run_query('select g, ''row '' || g from generate_series(1, 2) g') as (i int, t text)$$,
    $$values (1, 'row 1'), (2, 'row 2')$$, 'it returns the rows');
select results_eq(
    $$select * from pg_background_run_query('select 1', col_def => 'i int') as (i int)$$, array[1], 'col_def is accepted');
select is_empty('select from pg_background_list', 'it leaves nothing in the list');
select throws_ok($$select * from pg_background_run_query('select 1/0') as (i int)$$, '22012', null, 'the job''s error is raised');
select is(
    pg_temp.sqlstate_of($$select * from pg_background_run_query('select 1 from pg_sleep(60)', timeout_ms => 50) as (i int)$$), '57014',
    'after its time 57014 is raised');
select is_empty('select * from pg_background_list', 'neither the error nor the time-out leaves a job in the session''s list');
select throws_ok($$select * from pg_background_run_query('select 1, 2') as (i int)$$, '42804', null, 'another number of columns is refused');

select * from finish();
