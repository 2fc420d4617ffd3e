\i setup.sql
select plan(22);
create schema tap_result;
create table tap_result.t (id int primary key, note text not null constraint note_is_short check (length(note) < 10));

select has_function('background', 'pg_background_result', array['integer', 'bigint'], 'result takes a handle');

select * from pg_background_launch($$select g, 'row ' || g from generate_series(1, 3) g$$) \gset three_
prepare three as select * from pg_background_result(:three_pid, :three_cookie) as (i int, t text);
select results_eq('three', $$values (1, 'row 1'), (2, 'row 2'), (3, 'row 3')$$, 'result waits for the end and returns the rows in order');
select results_eq('three', $$values (1, 'row 1'), (2, 'row 2'), (3, 'row 3')$$, 'it returns them again when asked again');
select results_eq(
    format('select * from pg_background_result(%s, %s) as (i numeric, t text)', :three_pid, :three_cookie),
    $$values (1::numeric, 'row 1'), (2, 'row 2'), (3, 'row 3')$$,
    'columns are converted to the types the caller names, by position');
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (i int)', :three_pid, :three_cookie), '42804', null,
    'a column too few is refused');
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (i int, t text, more text)', :three_pid, :three_cookie), '42804', null,
    'a column too many is refused');

select * from pg_background_launch($$select null::text, ''::text, 'a "quoted", (odd) \ text', array['x', null], row(1, 'y')::text$$) \gset odd_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (n text, e text, q text, a text[], r text)', :odd_pid, :odd_cookie),
    $$values (null::text, ''::text, 'a "quoted", (odd) \ text'::text, array['x', null]::text[], '(1,y)'::text)$$,
    'null, the empty string, quotes and arrays come back as they were');

select * from pg_background_launch('select 1 as same, 2 as same') \gset same_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (a int, b int)', :same_pid, :same_cookie),
    'values (1, 2)', 'two columns may have the same name');

select * from pg_background_launch('select g from generate_series(1, 0) g') \gset none_
select is_empty(format('select * from pg_background_result(%s, %s) as (g int)', :none_pid, :none_cookie), 'a query without rows returns none');

select * from pg_background_launch($$insert into tap_result.t values (1, 'one'), (2, 'two')$$) \gset insert_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (tag text)', :insert_pid, :insert_cookie),
    array['INSERT 0 2'], 'a job without rows returns its full command tag');
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (a int, b int)', :insert_pid, :insert_cookie), '42804', null,
    'other columns asked of a job without rows are refused');
select * from pg_background_launch($$update tap_result.t set note = 'new' where id = 1 returning id, note$$) \gset returning_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (id int, note text)', :returning_pid, :returning_cookie),
    $$values (1, 'new')$$, 'RETURNING gives rows');
select * from pg_background_launch('create table tap_result.other (i int)') \gset ddl_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (tag text)', :ddl_pid, :ddl_cookie),
    array['CREATE TABLE'], 'a utility statement returns its tag');
select * from pg_background_launch('vacuum tap_result.t') \gset vacuum_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (tag text)', :vacuum_pid, :vacuum_cookie),
    array['VACUUM'], 'so does a job at top level');

-- Errors
select * from pg_background_launch($$insert into tap_result.t values (3, 'much too long a note')$$) \gset fails_
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (tag text)', :fails_pid, :fails_cookie), '23514',
    'background worker: new row for relation "t" violates check constraint "note_is_short"',
    'a failed job raises its own SQLSTATE and message');
create function tap_result.fields_of(query text) returns text language plpgsql as $$
declare
    s text; t text; c text; d text; h text;
begin
    execute query;
    return 'no error';
exception when others then
    get stacked diagnostics s = schema_name, t = table_name, c = constraint_name, d = pg_exception_detail, h = pg_exception_hint;
    return concat_ws('|', s, t, c, d, h);
end $$;
select is(
    tap_result.fields_of(format('select * from pg_background_result(%s, %s) as (tag text)', :fails_pid, :fails_cookie)),
    'tap_result|t|note_is_short|Failing row contains (3, much too long a note).|',
    'with schema, table, constraint and detail');
select * from pg_background_launch($$do 'begin raise exception using errcode = ''XY123'', message = ''mine'', hint = ''try that''; end'$$) \gset own_
select is(
    tap_result.fields_of(format('select * from pg_background_result(%s, %s) as (tag text)', :own_pid, :own_cookie)),
    '||||try that', 'and with its hint');
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (tag text)', :own_pid, :own_cookie), 'XY123', 'background worker: mine',
    'a SQLSTATE of the user''s own is kept');

select * from pg_background_launch('select 1/(3 - g) from generate_series(1, 5) g') \gset half_
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (i int)', :half_pid, :half_cookie), '22012', null,
    'a query that fails half-way gives no rows but its error');

select throws_ok('select * from pg_background_result(1, 1) as (i int)', '42704', null, 'an unknown handle is refused');
select * from pg_background_launch('select pg_sleep(60)') \gset live_
select throws_ok(
    format('select * from pg_background_result(%s, %s) as (i int)', :live_pid, :live_cookie # 1), '55000', null,
    'the pid of a running worker with another cookie is refused');
select pg_background_cancel(:live_pid, :live_cookie, 5000) \gset
select is(
    pg_temp.sqlstate_of(format('select * from pg_background_result(%s, %s) as (i int)', :live_pid, :live_cookie)), '57014',
    'a canceled job raises 57014');

drop schema tap_result cascade;
select * from finish();
