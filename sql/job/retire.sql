-- Retention: finished jobs go when they are older than `retention` or more than `max_history` jobs of their role back, whichever comes
-- first; detached successes of submit() and run() after an hour. Workers see to it after their jobs, in small steps.

create table pgbackground.retired (
    home text not null,
    role oid not null,
    role_name name not null,
    state text not null,
    jobs int8 not null,
    seconds float8 not null,
    retries int8 not null,
    primary key (home, role, state)
);
comment on table pgbackground.retired is
    'Finished jobs that are gone, counted: the counters of pg_background_metrics never go back.';

create table pgbackground.retirement (
    id int4 primary key,
    none_at timestamptz
);
comment on column pgbackground.retirement.none_at is 'When a worker last found no job that is too old.';
comment on table pgbackground.retirement is
    'Always one row: its lock lets one worker at a time retire finished jobs.';
insert into pgbackground.retirement values (1);

-- Purpose: one of the DBA's choices, an interval or a number like the default; that one where there is none, or none that makes sense.
create function pgbackground.chosen(in_name text, fallback anyelement) returns anyelement
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    nothing fallback%type := fallback - fallback;
    chosen fallback%type;
begin
    chosen := (select c.value from @extschema@.pg_background_config c where c.name = in_name);
    return case when chosen >= nothing then chosen else fallback end;
exception when data_exception then
    return fallback;
end
$plpgsql$;

-- Purpose: jobs of a role that are more than max_history of its jobs back, oldest first, locked; those that somebody works with are
-- passed over. The walk begins behind what went before: index entries of rows that are gone stay as long as the oldest transaction does.
-- Tables: history, job (select for update).
create function pgbackground.beyond_history(of_role oid, most int4, out cookies int8[], out first int8)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set enable_bitmapscan = off
as $plpgsql$
declare
    newest int8 := (select max(j.number) from pgbackground.job j where j.role = of_role);
    gone int8 := coalesce((select h.gone from pgbackground.history h where h.role = of_role), 0);
begin
    select coalesce(array_agg(f.cookie), '{}'), min(f.number) into cookies, first
      from (select j.cookie, j.number from pgbackground.job j
             where j.role = of_role and j.number > gone
               and j.number <= newest - pgbackground.chosen('max_history', 100000::int8)
               and not j.live and not exists (select from pgbackground.dependency d where d.parent = j.cookie)
             order by j.role, j.number limit most for update skip locked) f;
end
$plpgsql$;

-- Purpose: remember how far a role's history is gone; a step is many jobs. Tables: history (insert, update).
create function pgbackground.history_gone(of_role oid, first int8) returns void
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    insert into pgbackground.history as h (role, gone) values (of_role, 0)
    on conflict (role) do update set gone = first - 1 where h.gone + 1000 < first
$sql$;

-- Purpose: jobs that are older than they are kept. When there was none, nobody looks again for a minute.
-- Tables: job (select for update).
create function pgbackground.too_old(most int4) returns int8[]
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set enable_bitmapscan = off
as $plpgsql$
declare
    retention interval := pgbackground.chosen('retention', interval '7 days');
    cookies int8[];
begin
    if clock_timestamp() - (select r.none_at from pgbackground.retirement r) between interval '0' and interval '59 seconds' then
        return '{}';
    end if;
    cookies := array(
        select j.cookie from pgbackground.job j
         where j.state = 'stopped' and j.detached and not j.keeps_rows
           and j.finished_at < clock_timestamp() - least(retention, interval '1 hour')
         order by j.finished_at limit most for update skip locked);
    if cardinality(cookies) = 0 then
        cookies := array(
            select j.cookie from pgbackground.job j
             where not j.live and j.finished_at < clock_timestamp() - retention
               and not exists (select from pgbackground.dependency d where d.parent = j.cookie)
             order by j.finished_at limit most for update skip locked);
    end if;
    if cardinality(cookies) = 0 then
        perform from pgbackground.retirement for update skip locked;
        if found then
            update pgbackground.retirement set none_at = clock_timestamp();
        end if;
    end if;
    return cookies;
end
$plpgsql$;

-- Purpose: let finished jobs go, with their rows and messages, for at most so many ms, but at least one small step.
-- Of a worker's own role, then of another one by chance, then those that are too old; of all roles, where somebody gives it seconds.
-- What they add to the counters of pg_background_metrics is kept. An error here is nobody's: the next worker tries again.
-- The owner's alone: in a transaction that stays open it would keep the workers from retiring anything.
-- Returns: how many jobs are gone. Tables: job, job_rows, job_message (delete), history, retired (update).
create function pgbackground.retire(budget_ms float8 default 0, own_role oid default null) returns int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    deadline timestamptz := clock_timestamp() + make_interval(secs => least(budget_ms, 10000) / 1000);
    outlived int8[];
    first int8;
    of_role oid := own_role;
    others oid[];
    pieces int8;
    gone int4;
    total int4 := 0;
begin
    if current_setting('transaction_read_only')::bool or pg_is_in_recovery() then
        return 0;
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if exists (
        select from pgbackground.job j
         where j.live and j.launched_at < clock_timestamp() - interval '1 hour' and pgbackground.is_dead(j)) then
        -- Nobody has looked at these for a long time: only what has ended can go.
        perform pgbackground.sweep();
    end if;
    if own_role is null and budget_ms > 1000 then
        others := array(select distinct j.role from pgbackground.job j);
    else
        others := array(select h.role from pgbackground.history h where h.role is distinct from own_role order by random() limit 1);
    end if;
    if own_role is not null and not exists (select from pgbackground.history h where h.role = own_role) then
        perform pgbackground.history_gone(own_role, 0);
    end if;
    loop
        first := null;
        if of_role is not null then
            select b.cookies, b.first into outlived, first from pgbackground.beyond_history(of_role, 32) b;
        else
            outlived := pgbackground.too_old(32);
        end if;
        if outlived = '{}' then
            exit when of_role is null and cardinality(others) = 0;
            of_role := others[1];
            others := others[2:];
            continue;
        end if;
        -- One worker at a time keeps the counters.
        perform from pgbackground.retirement for update skip locked;
        exit when not found;
        if first is not null then
            perform pgbackground.history_gone(of_role, first);
        end if;
        delete from pgbackground.job_rows r
         where (r.cookie, r.chunk) in (
            select c.cookie, c.chunk from pgbackground.job_rows c where c.cookie = any (outlived) limit 128);
        get diagnostics pieces = row_count;
        delete from pgbackground.job_message m
         where (m.cookie, m.seq) in (
            select c.cookie, c.seq from pgbackground.job_message c where c.cookie = any (outlived) limit 1024);
        delete from pgbackground.request r where r.cookie = any (outlived);
        with deleted as (
            delete from pgbackground.job j
             where j.cookie = any (outlived)
               and not exists (select from pgbackground.job_rows r where r.cookie = j.cookie)
               and not exists (select from pgbackground.job_message m where m.cookie = j.cookie)
            returning j.home, j.role, j.role_name, j.state, coalesce(j.started_at, j.launched_at) as started_at, j.finished_at, j.attempt
        ), counted as (
            insert into pgbackground.retired as t (home, role, role_name, state, jobs, seconds, retries)
            select d.home, d.role, max(d.role_name), d.state, count(*), sum(extract(epoch from d.finished_at - d.started_at)), sum(d.attempt - 1)
              from deleted d
             group by d.home, d.role, d.state
            on conflict (home, role, state) do update
               set jobs = t.jobs + excluded.jobs, seconds = t.seconds + excluded.seconds, retries = t.retries + excluded.retries
        )
        select count(*) into gone from deleted;
        total := total + gone;
        exit when clock_timestamp() > deadline;
    end loop;
    return total;
exception when others then
    return 0;
end
$plpgsql$;

-- Purpose: retirement by a worker that has just ended its job; nothing for anybody else. Returns: how many jobs are gone.
create function pgbackground.retire_after(in_cookie int8, budget_ms float8) returns int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    own_role oid := (select j.role from pgbackground.job j where j.cookie = in_cookie and j.pid = pg_backend_pid() and not j.live);
begin
    perform pgbackground.only_in_a_call();
    if own_role is null then
        return 0;
    end if;
    return pgbackground.retire(budget_ms, own_role);
end
$plpgsql$;
