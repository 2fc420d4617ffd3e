\i setup.sql
select plan(7);
create schema tap_jobs;
create table tap_jobs.t (id int);

select has_view('background', 'pg_background_jobs', 'there is a view of all jobs');
select columns_are('background', 'pg_background_jobs',
    array['pid', 'cookie', 'role', 'label', 'state', 'sql', 'mode', 'launcher_pid', 'executor_pid', 'launched_at', 'started_at',
          'finished_at', 'row_count', 'command_tag', 'sqlstate', 'message', 'timed_out', 'cancel_requested', 'detached',
          'progress_pct', 'progress_msg', 'run_at', 'priority', 'attempt', 'attempts', 'key', 'schedule', 'due_at', 'waits_for'],
    'it has the columns that the documentation names');
select ok('security_barrier=true' = any (reloptions), 'it is a security barrier') from pg_class where oid = 'pg_background_jobs'::regclass;

select * from pg_background_launch('select 1', label => 'a') \gset inline_
select * from pg_background_launch('vacuum tap_jobs.t', label => 'b') \gset top_
select pg_background_wait(:inline_pid, :inline_cookie), pg_background_wait(:top_pid, :top_cookie) \gset
select results_eq(
    format('select pid, role, label, state, sql, mode, launcher_pid, command_tag from pg_background_jobs where cookie = %s', :inline_cookie),
    format($$values (%s, current_user, 'a', 'stopped', 'select 1', 'inline', pg_backend_pid(), 'SELECT')$$, :inline_pid),
    'a job that can run in a transaction ran inline');
select results_eq(
    format('select mode, executor_pid <> pid, command_tag from pg_background_jobs where cookie = %s', :top_cookie),
    $$values ('top-level', true, 'VACUUM')$$, 'VACUUM ran at top level, in another process');
select pg_background_detach(:inline_pid, :inline_cookie) \gset
-- detach does not wait until the registry knows
do $$ begin
    while not exists (select from pg_background_jobs where detached and launcher_pid = pg_backend_pid()) loop
        perform pg_sleep(0.005);
    end loop;
end $$;
select results_eq(format('select detached from pg_background_jobs where cookie = %s', :inline_cookie), array[true], 'detached jobs stay in it');

select * from pg_background_launch('select pg_sleep(60)') \gset
select pg_background_cancel(:pid, :cookie, 5000) \gset
select results_eq(
    format('select state, cancel_requested, timed_out, sqlstate from pg_background_jobs where cookie = %s', :cookie),
    $$values ('canceled', true, false, '57014')$$, 'a canceled job says that a cancel was requested');

drop schema tap_jobs cascade;
select * from finish();
