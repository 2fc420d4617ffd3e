\i setup.sql
select plan(8);

select has_function('background', 'pg_background_report_progress', array['integer', 'text'], 'report_progress takes percent and a text');
select throws_ok('select pg_background_report_progress(1)', '0A000', null, 'outside of a job it is refused');

create function pg_temp.progress_of(cookie int8) returns text language sql as
    'select concat_ws(''|'', progress_pct, progress_msg) from background.pg_background_jobs j where j.cookie = $1';

select * from pg_background_launch($$select background.pg_background_report_progress(42, 'half-way'); select pg_sleep(60)$$) \gset
select is(pg_background_wait(:pid, :cookie, 500), false, 'a job that has reported goes on');
select is(pg_temp.progress_of(:cookie), '42|half-way', 'others see the report before the job commits');
select pg_background_cancel(:pid, :cookie, 5000) \gset
select is(pg_temp.progress_of(:cookie), '42|half-way', 'the last report stays readable after the end');

select * from pg_background_launch('select background.pg_background_report_progress(101)') \gset over_
select pg_background_wait(:over_pid, :over_cookie) \gset
select is(pg_temp.progress_of(:over_cookie), '100|', 'more than 100 counts as 100, and the text may be left out');
select * from pg_background_launch($$select background.pg_background_report_progress(-5, 'begun')$$) \gset under_
select pg_background_wait(:under_pid, :under_cookie) \gset
select is(pg_temp.progress_of(:under_cookie), '0|begun', 'less than 0 counts as 0');
select * from pg_background_launch('select 1') \gset silent_
select pg_background_wait(:silent_pid, :silent_cookie) \gset
select is(pg_temp.progress_of(:silent_cookie), '', 'a job that has reported nothing has no progress');

select * from finish();
