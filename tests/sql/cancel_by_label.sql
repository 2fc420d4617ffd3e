\i setup.sql
select plan(6);

select has_function('background', 'pg_background_cancel_by_label', array['text', 'integer'], 'cancel_by_label takes a pattern and a grace in ms');
select count(pg_background_launch('select pg_sleep(60)', label => l)) from unnest(array['report 1', 'report 2', 'vacuum', null]) l \gset
select is(pg_background_cancel_by_label('index%'), 0, 'a pattern that no label is like cancels nothing');
select is(pg_background_cancel_by_label(null), 0, 'neither does a null');
select is(pg_background_cancel_by_label('report%', 5000), 2, 'it cancels the live jobs whose label is LIKE the pattern');
select results_eq('select state, count(*) from pg_background_list group by state order by state',
    $$values ('canceled', 2::int8), ('running', 2)$$, 'and no other');
select is(pg_background_cancel_by_label('report%'), 0, 'jobs that have ended are not counted again');
select pg_background_cancel(pid, cookie, 5000) from pg_background_list where state = 'running' \g /dev/null

select * from finish();
