-- A worker that is gone without a record. An inline job's effects and its record are one transaction: no record means no effects.

-- Purpose: is this process really the one that holds the job's lock? A pid may have gone to somebody else since, and anybody may take
-- a lock whose key he sees in pg_locks: what counts is who holds it.
create function pgbackground.holds(key int8, worker_pid int4) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return exists (
        select from pg_locks l
         where l.locktype = 'advisory' and l.granted and l.mode = 'ExclusiveLock' and l.objsubid = 1
           and l.pid = worker_pid
           and l.classid::int8 = (key >> 32 & 4294967295) and l.objid::int8 = (key & 4294967295));
end
$plpgsql$;

-- Purpose: is a running job's worker gone? Its lock is free then, whatever ended it, or it idles: between two commands for longer than a
-- hand-over takes, or with a request to stop that has hit it before it began.
-- A standby holds none of the primary's locks and knows nothing; a job that asks about itself is alive.
create function pgbackground.is_dead(j pgbackground.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if j.state <> 'running' or j.pid = pg_backend_pid() or pg_is_in_recovery() then
        return false;
    end if;
    -- One expression, so that no cancel comes in between. Nearly always the lock is taken, by its worker.
    if (case when pg_try_advisory_lock_shared(j.lock_key) then pg_advisory_unlock_shared(j.lock_key) end) then
        return true;
    end if;
    perform pg_stat_clear_snapshot();
    return not pgbackground.holds(j.lock_key, j.pid)
        or exists (
            select from pg_stat_get_activity(j.pid) a
             where a.state = 'idle'
               and (a.state_change < clock_timestamp() - interval '1 second'
                    or pgbackground.stop_is_requested(j.cookie)));
end
$plpgsql$;

-- Purpose: does a job whose worker is gone go back into the queue? When it came from there, had not begun, and nobody has canceled it.
-- However often: whoever starts a job of others loses its worker with his own session, which says nothing about the job.
create function pgbackground.goes_back(j pgbackground.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return j.begun is false and j.executor_pid is null
       and not pgbackground.stop_is_requested(j.cookie);
end
$plpgsql$;

-- Purpose: what ended the job of a lost worker, as an error. The one place of this rule.
create function pgbackground.error_of_lost(j pgbackground.job, out sqlstate text, out message text, out detail text)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    asked_first text := pgbackground.asked_first(j.cookie);
begin
    if j.home <> pgbackground.home() then
        sqlstate := '08007';
        message := 'the job belongs to another server or database';
        detail := 'This is a copy of its record. What has become of the job, only the original can tell.';
    elsif asked_first = 'cancel' then
        sqlstate := '57014';
        message := 'canceling statement due to user request';
    elsif asked_first = 'expire' or pgbackground.time_is_over(j) then
        sqlstate := '57014';
        message := 'canceling statement due to worker timeout';
    elsif j.mode = 'top-level' then
        sqlstate := '08007';
        message := 'the worker ended before the job''s outcome was known';
        detail := 'The statement ran outside a transaction block: all, some or nothing of it may have taken effect.';
    elsif not pg_has_role(j.login, 'pgbackground_role', 'USAGE') then
        sqlstate := '42501';
        message := 'the role lost its right to run jobs while this one ran';
        detail := 'Its transaction was rolled back: nothing of the job took effect.';
    else
        sqlstate := '57P01';
        message := 'the worker ended before the job did';
        detail := 'Its transaction was rolled back: nothing of the job took effect.';
    end if;
end
$plpgsql$;

-- Purpose: end the job of a lost worker, or put it back into the queue. The caller holds the job's row and knows that the worker is gone.
create function pgbackground.end_lost(in_cookie int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j pgbackground.job;
    error record;
begin
    select * into j from pgbackground.job b where b.cookie = in_cookie;
    if pgbackground.goes_back(j) then
        update pgbackground.job b
           set state = 'queued', pid = 0, lock_key = null, started_at = null, begun = null, former_pids = (j.pid || former_pids)[:100]
         where b.cookie = in_cookie;
        return;
    end if;
    error := pgbackground.error_of_lost(j);
    perform pgbackground.end_without_worker(in_cookie, error.sqlstate, error.message, error.detail);
end
$plpgsql$;

-- Purpose: is the job's worker gone? Then write down its end. Harmless: it writes what is true, whoever calls it.
-- Whoever has the row at hand at this moment is not waited for. Returns: whether there was something to write.
create function pgbackground.lost(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
declare
    j pgbackground.job;
begin
    if pg_is_in_recovery() or current_setting('transaction_read_only')::bool then
        return false;
    end if;
    select * into j from pgbackground.job b where b.cookie = in_cookie and b.state = 'running';
    if not found or j.home <> pgbackground.home() or not pgbackground.is_dead(j) then
        return false;
    end if;
    -- Only the row of a job that has no worker is locked: nobody can keep a living one from recording. Then look again.
    select * into j from pgbackground.job b where b.cookie = in_cookie and b.state = 'running' for update skip locked;
    if not found or not pgbackground.is_dead(j) then
        return false;
    end if;
    perform pgbackground.end_lost(in_cookie);
    return true;
exception when serialization_failure then
    return false;
end
$plpgsql$;

-- Purpose: the same for every job whose worker is gone; of_queue: only for those that others may wait for without looking at them, which come from
-- the queue and may have attempts left, or have jobs behind them. Returns how many.
create function pgbackground.sweep(of_queue bool default false) returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    each pgbackground.job;
    ended int4 := 0;
begin
    for each in
        select * from pgbackground.job j
         where j.live and j.state = 'running'
           and (not of_queue or j.begun is not null or exists (select from pgbackground.dependency d where d.parent = j.cookie))
           and pgbackground.is_dead(j)
    loop
        if pgbackground.lost(each.cookie) then
            ended := ended + 1;
        end if;
    end loop;
    return ended;
end
$plpgsql$;
