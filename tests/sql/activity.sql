\i setup.sql
select plan(4);

select has_view('background', 'pg_background_activity', 'there is a view of what the workers are doing');
select * from pg_background_launch('select pg_sleep(60)', label => 'sleeper') \gset
select * from pg_background_launch('select 1') \gset well_
select pg_background_wait(:well_pid, :well_cookie) \gset
select results_eq(
    format('select pgbg_state, label, backend_state from pg_background_activity where cookie = %s', :cookie),
    $$values ('running', 'sleeper', 'active')$$, 'a running job has the state of its worker beside its own');
select matches(query, 'select pg_sleep', 'and the query') from pg_background_activity where cookie = :cookie;
select results_eq(
    format('select pgbg_state, backend_state from pg_background_activity where cookie = %s', :well_cookie),
    $$values ('stopped', null::text)$$, 'one that has ended has no worker');
select pg_background_cancel(:pid, :cookie, 5000) \gset

select * from finish();
