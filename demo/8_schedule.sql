-- 8. A schedule to the second, its history, and a failure that is seen and mended.

create table heart (beat text);
insert into heart values ('tick');
create table beats (at timestamptz default clock_timestamp(), beat text);
select pg_background_schedule('heartbeat', '1 second', 'insert into beats (beat) table heart') is not null as is_made;
select * from pg_background_next_runs('0 2 * * 1-5', 'Europe/Berlin', 2, '2030-03-29 12:00+00');

-- Three beats later: each is a job like any other, and the registry is the history.
do $$ begin while (select count(*) < 3 from beats) loop perform pg_sleep(0.05); end loop; end $$;
select due_at::time(0) as due, started_at - due_at < '900 ms' as on_time, state, command_tag
  from pg_background_jobs where schedule = 'heartbeat' and state = 'stopped' order by due_at limit 3;

-- Somebody renames a table. Nobody watches; the schedule counts, and tells what the matter is.
alter table heart rename to hart;
do $$ begin while (select failures_in_a_row < 2 from pg_background_schedules) loop perform pg_sleep(0.05); end loop; end $$;
select name, failures_in_a_row >= 2 as needs_help from pg_background_schedules;
select state, sqlstate, message from pg_background_jobs where schedule = 'heartbeat' and state = 'error' order by due_at limit 1;

-- It is mended, and the next beat is there by itself.
alter table hart rename to heart;
do $$ begin while (select failures_in_a_row > 0 from pg_background_schedules) loop perform pg_sleep(0.05); end loop; end $$;
select name, last_state in ('queued', 'running', 'stopped') as is_well, failures_in_a_row from pg_background_schedules;
select pg_background_unschedule('heartbeat') as was_there;
