\i setup.sql
select plan(6);

select has_function('background', 'pg_background_get_progress', array['integer', 'bigint'], 'get_progress takes a handle');
select * from pg_background_launch('select pg_sleep(60)') \gset silent_
select ok(p is null, 'before the first report it is null') from pg_background_get_progress(:silent_pid, :silent_cookie) p;
select pg_background_cancel(:silent_pid, :silent_cookie, 5000) \gset

-- two reports, the second after our lock is gone
select pg_advisory_lock(1772) \gset
select * from pg_background_launch($$select background.pg_background_report_progress(10, 'begun'); select pg_advisory_xact_lock(1772);
    select background.pg_background_report_progress(90, 'nearly there')$$) \gset
do $$ begin
    while not exists (select from pg_stat_activity where wait_event = 'advisory' and datname = current_database()) loop
        perform pg_sleep(0.005);
        perform pg_stat_clear_snapshot();
    end loop;
end $$;
select results_eq(format('select * from pg_background_get_progress(%s, %s)', :pid, :cookie), $$values (10, 'begun')$$, 'it is the last report of a running job');
select pg_advisory_unlock(1772) \gset
select pg_background_wait(:pid, :cookie) \gset
select results_eq(format('select * from pg_background_get_progress(%s, %s)', :pid, :cookie), $$values (90, 'nearly there')$$, 'and of one that has ended');
select pg_background_detach(:pid, :cookie) \gset
select results_eq(format('select progress_pct from pg_background_get_progress(%s, %s)', :pid, :cookie), array[90], 'detached jobs included');
select ok(p is null, 'an unknown handle gives null') from pg_background_get_progress(1, 1) p;

select * from finish();
