\i setup.sql
select plan(5);

select has_function('background', 'pg_background_wait_any', array['background.pg_background_handle[]', 'integer'], 'wait_any takes handles and a time in ms');

select * from pg_background_launch('select pg_sleep(60)') \gset slow_
select * from pg_background_launch('select 1') \gset quick_
select results_eq(
    format('select cookie from pg_background_wait_any(array[row(%s, %s), row(%s, %s)]::pg_background_handle[])', :slow_pid, :slow_cookie, :quick_pid, :quick_cookie),
    array[:quick_cookie::int8], 'it returns the handle of the first to end');
select results_eq(
    format('select cookie from pg_background_wait_any(array[row(%s, %s)]::pg_background_handle[], 50)', :slow_pid, :slow_cookie),
    array[null]::int8[], 'null when the time is over');
select pg_background_cancel(:slow_pid, :slow_cookie, 5000) \gset
select results_eq(
    format('select cookie from pg_background_wait_any(array[row(%s, %s)]::pg_background_handle[])', :slow_pid, :slow_cookie),
    array[:slow_cookie::int8], 'a canceled job has ended, too');
select throws_ok('select pg_background_wait_any(array[row(1, 1)]::pg_background_handle[])', '42704', null, 'an unknown handle is refused');

select * from finish();
