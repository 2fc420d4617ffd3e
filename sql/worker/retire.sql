-- Retention: finished jobs go when they are older than `retention` or more than `max_history` jobs back, whichever comes first;
-- detached successes of submit() and run() after an hour. Workers see to it after their jobs, in small steps.

-- Purpose: one of the DBA's choices as an interval or a number; the default where there is none, or none that makes sense.
create function @extschema@._chosen_interval(in_name text, fallback interval) returns interval
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    chosen interval;
begin
    chosen := (select c.value from @extschema@.pg_background_config c where c.name = in_name);
    return case when chosen >= interval '0' then chosen else fallback end;
exception when data_exception then
    return fallback;
end
$plpgsql$;

create function @extschema@._chosen_number(in_name text, fallback int8) returns int8
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    chosen int8;
begin
    chosen := (select c.value from @extschema@.pg_background_config c where c.name = in_name);
    return case when chosen >= 0 then chosen else fallback end;
exception when data_exception then
    return fallback;
end
$plpgsql$;

-- Purpose: jobs that are more than max_history back, oldest first, locked; those that somebody works with are passed over.
-- The walk begins behind what went before: index entries of rows that are gone stay as long as the oldest transaction does.
-- Tables: job (select for update).
create function @extschema@._beyond_history(most int4) returns int8[]
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $plpgsql$
declare
    newest int8 := (select s.last_value from @extschema@.job_number_seq s);
    gone int8 := (select s.last_value from @extschema@.retired_number s);
    first int8;
    cookies int8[];
begin
    select array_agg(f.cookie), min(f.number) into cookies, first
      from (select j.cookie, j.number from @extschema@.job j
             where j.state in ('stopped', 'error', 'canceled') and j.number >= gone
               and j.number <= newest - @extschema@._chosen_number('max_history', 100000)
             order by j.number limit most for update skip locked) f;
    if first > gone then
        perform setval('@extschema@.retired_number', first);
    end if;
    return coalesce(cookies, '{}');
end
$plpgsql$;

-- Purpose: jobs that are older than they are kept. When there was none, nobody looks again for a minute.
-- Tables: job (select for update).
create function @extschema@._too_old(most int4) returns int8[]
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $plpgsql$
declare
    retention interval := @extschema@._chosen_interval('retention', '7 days');
    now_s int8 := extract(epoch from clock_timestamp());
    cookies int8[];
begin
    if now_s - (select s.last_value from @extschema@.retired_none s) between 0 and 59 then
        return '{}';
    end if;
    cookies := array(
        select j.cookie from @extschema@.job j
         where j.state = 'stopped' and j.detached and not j.keeps_rows
           and j.finished_at < clock_timestamp() - least(retention, interval '1 hour')
         order by j.finished_at limit most for update skip locked);
    if cardinality(cookies) = 0 then
        cookies := array(
            select j.cookie from @extschema@.job j
             where j.state in ('stopped', 'error', 'canceled') and j.finished_at < clock_timestamp() - retention
             order by j.finished_at limit most for update skip locked);
    end if;
    if cardinality(cookies) = 0 then
        perform setval('@extschema@.retired_none', now_s);
    end if;
    return cookies;
end
$plpgsql$;

-- Purpose: let finished jobs go, with their rows and messages, for at most so many ms, but at least one small step.
-- What they add to the counters of pg_background_metrics is kept. An error here is nobody's: the next worker tries again.
-- The owner's alone: in a transaction that stays open it would keep the workers from retiring anything.
-- Returns: how many jobs are gone. Tables: job, job_rows, job_message (delete), retired (update).
create function @extschema@._retire(budget_ms float8 default 0) returns int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    deadline timestamptz := clock_timestamp() + make_interval(secs => least(budget_ms, 10000) / 1000);
    outlived int8[];
    pieces int8;
    gone int4;
    total int4 := 0;
begin
    if current_setting('transaction_read_only')::bool or pg_is_in_recovery() then
        return 0;
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if exists (
        select from @extschema@.job j
         where j.state = 'running' and j.launched_at < clock_timestamp() - interval '1 hour'
           and @extschema@._is_dead(j.lock_key, j.pid)) then
        -- Nobody has looked at these for a long time: only what has ended can go.
        perform @extschema@._sweep();
    end if;
    loop
        outlived := @extschema@._beyond_history(32);
        if outlived = '{}' then
            outlived := @extschema@._too_old(32);
        end if;
        exit when outlived = '{}';
        -- One worker at a time keeps the counters.
        perform from @extschema@.retirement for update skip locked;
        exit when not found;
        delete from @extschema@.job_rows r
         where (r.cookie, r.chunk) in (
            select c.cookie, c.chunk from @extschema@.job_rows c where c.cookie = any (outlived) limit 128);
        get diagnostics pieces = row_count;
        delete from @extschema@.job_message m
         where (m.cookie, m.seq) in (
            select c.cookie, c.seq from @extschema@.job_message c where c.cookie = any (outlived) limit 1024);
        with deleted as (
            delete from @extschema@.job j
             where j.cookie = any (outlived)
               and not exists (select from @extschema@.job_rows r where r.cookie = j.cookie)
               and not exists (select from @extschema@.job_message m where m.cookie = j.cookie)
            returning j.role, j.state, coalesce(j.started_at, j.launched_at) as started_at, j.finished_at
        ), counted as (
            insert into @extschema@.retired as t (role, state, jobs, seconds)
            select d.role, d.state, count(*), sum(extract(epoch from d.finished_at - d.started_at))
              from deleted d
             group by d.role, d.state
            on conflict (role, state) do update set jobs = t.jobs + excluded.jobs, seconds = t.seconds + excluded.seconds
        )
        select count(*) into gone from deleted;
        total := total + gone;
        exit when clock_timestamp() > deadline or (cardinality(outlived) < 32 and pieces < 128);
    end loop;
    return total;
exception when others then
    return 0;
end
$plpgsql$;

-- Purpose: retirement by a worker that has just ended its job, which its token proves; nothing for anybody else.
-- Returns: how many jobs are gone.
create function @extschema@._retire_after(in_cookie int8, in_token uuid, budget_ms float8) returns int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not @extschema@._has_ended(in_cookie, in_token) then
        return 0;
    end if;
    return @extschema@._retire(budget_ms);
end
$plpgsql$;
