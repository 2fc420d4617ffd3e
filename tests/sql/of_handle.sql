\i setup.sql
select plan(17);
create temp table h (name text, handle pg_background_handle);
insert into h values ('rows', pg_background_launch('select g, ''row '' || g from generate_series(1, 2) g', 0, 'two rows'));
insert into h values ('error', pg_background_launch('select 1/0'));
insert into h values ('long', pg_background_launch('select pg_sleep(60)'));

select results_eq(
    $$select * from pg_background_result(pg_background_launch('select 1, 2')) as (a int, b text)$$, $$values (1, '2')$$,
    'result takes what launch returns');
select ok(pg_background_wait(handle), 'wait takes a handle') from h where name = 'rows';
select results_eq(
    $$select r.* from h, pg_background_result(handle) as r (i int, t text) where name = 'rows'$$,
    $$values (1, 'row 1'), (2, 'row 2')$$, 'result takes one from a table');
select results_eq($$select pg_background_result_json(handle)->'g' from h where name = 'rows'$$, $$values ('1'::jsonb), ('2')$$, 'result_json takes a handle');
select throws_ok($$select r.* from h, pg_background_result(handle) as r (i int) where name = 'error'$$, '22012', null, 'the job''s error is raised');
select is((pg_background_outcome(handle)).label, 'two rows', 'outcome takes a handle') from h where name = 'rows';
select is((pg_background_result_info(handle)).row_count, 2::int8, 'result_info takes a handle') from h where name = 'rows';
select is((pg_background_error_info(handle)).sqlstate, '22012', 'error_info takes a handle') from h where name = 'error';
select is(pg_background_full_sql(handle), 'select 1/0', 'full_sql takes a handle') from h where name = 'error';
select ok(pg_background_get_progress(handle) is null, 'get_progress takes a handle') from h where name = 'rows';
select is_empty($$select m.* from h, pg_background_messages(handle) m where name = 'rows'$$, 'messages takes a handle');
select lives_ok($$select pg_background_cancel(handle) from h where name = 'long'$$, 'cancel takes a handle');
do $$
declare
    canceled pg_background_handle := handle from h where name = 'long';
begin
    commit;
    call pg_background_await(canceled);
end
$$;
select is((pg_background_outcome(handle)).state, 'canceled', 'and await, in which the canceled job is waited for') from h where name = 'long';
select lives_ok($$select pg_background_detach(handle) from h$$, 'detach takes a handle');
select is_empty('select from pg_background_list where label = ''two rows''', 'and the job is no longer in the list');
select throws_ok('call pg_background_await(null::pg_background_handle)', '42704', null, 'a null is no handle for a procedure');
select ok(pg_background_wait(null::pg_background_handle) is null, 'and null for a function');

select * from finish();
