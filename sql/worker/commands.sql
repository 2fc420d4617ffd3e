-- Commands that launchers of any session send over a link: each is autonomous, and sealed, because the sender has checked who asks.

-- Purpose: refuse a command whose seal was not made by the launcher's own code. Raises 42501.
create function @extschema@._check_seal(words text, in_seal text) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if in_seal is null or in_seal is distinct from @extschema@._seal(words) then
        raise exception using errcode = '42501', message = 'this command was not given by pg_background';
    end if;
end
$plpgsql$;

-- Purpose: the job's row as it is now, or as it must be told when its worker is gone; all nulls when unknown.
create function @extschema@._look(in_cookie int8, in_seal text) returns @extschema@.job
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j @extschema@.job;
begin
    perform @extschema@._check_seal('look|' || in_cookie, in_seal);
    select * into j from @extschema@.job where cookie = in_cookie;
    if j.state = 'running' then
        j := @extschema@._now(j.cookie, j.lock_key);
    end if;
    j.token := null;
    return j;
end
$plpgsql$;

-- Purpose: is this process really the one that holds the job's lock? A pid may have gone to somebody else since.
create function @extschema@._holds(key int8, worker_pid int4) returns bool
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select exists (
        select from pg_locks l
         where l.locktype = 'advisory' and l.granted and l.mode = 'ExclusiveLock' and l.objsubid = 1
           and l.pid = worker_pid
           and l.classid::int8 = (key >> 32) and l.objid::int8 = (key & 4294967295))
$sql$;

-- Purpose: ask a job to stop. The mark and the signal are one transaction that holds the row, so the signal cannot reach
-- the worker's next job: its record of this one waits for the row, and sees the mark.
-- Parameters: expired, when the job's time-out is the reason. Returns: whether there was something to cancel.
create function @extschema@._cancel(in_cookie int8, in_seal text, expired bool default false) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j record;
begin
    perform @extschema@._check_seal(case when expired then 'expire|' else 'cancel|' end || in_cookie, in_seal);
    select * into j from @extschema@.job where cookie = in_cookie and state in ('queued', 'running') for update;
    if not found then
        return false;
    end if;
    if j.state = 'queued' then
        update @extschema@.job
           set state = 'canceled', cancel_requested = true, finished_at = clock_timestamp(),
               sqlstate = '57014', message = 'canceling statement due to user request'
         where cookie = in_cookie;
        return true;
    end if;
    update @extschema@.job
       set cancel_requested = true, timed_out = j.timed_out or (expired and not j.cancel_requested),
           expired_at = case when expired then coalesce(j.expired_at, clock_timestamp()) else j.expired_at end
     where cookie = in_cookie;
    if @extschema@._holds(j.lock_key, j.pid) then
        perform pg_cancel_backend(coalesce(j.executor_pid, j.pid));
    end if;
    return true;
end
$plpgsql$;

-- Purpose: end the worker process of a job that did not stop when asked (and its executor first, which holds the effects).
create function @extschema@._terminate(in_cookie int8, in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j record;
begin
    perform @extschema@._check_seal('terminate|' || in_cookie, in_seal);
    select * into j from @extschema@.job where cookie = in_cookie and state = 'running' for update;
    if not found or not @extschema@._holds(j.lock_key, j.pid) then
        return false;
    end if;
    if j.executor_pid is not null then
        perform pg_terminate_backend(j.executor_pid);
    end if;
    return pg_terminate_backend(j.pid);
end
$plpgsql$;

-- Purpose: write the outcome of a job whose worker is gone without one. Whoever has its row at hand at this moment is not waited for.
-- Returns: whether there was one to write. Tables: job (update).
create function @extschema@._close_dead(in_cookie int8, in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j @extschema@.job;
begin
    perform @extschema@._check_seal('terminate|' || in_cookie, in_seal);
    select * into j from @extschema@.job where cookie = in_cookie and state = 'running' for update skip locked;
    if not found or not (@extschema@._is_dead(j.lock_key, j.pid) or @extschema@._never_began(j)) then
        return false;
    end if;
    perform @extschema@._bury(in_cookie);
    return true;
end
$plpgsql$;

-- Purpose: the launcher has let go of the job: its rows are no longer kept.
create function @extschema@._detach(in_cookie int8, in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    had_rows bool;
begin
    perform @extschema@._check_seal('detach|' || in_cookie, in_seal);
    perform set_config('synchronous_commit', 'off', true);
    update @extschema@.job set detached = true where cookie = in_cookie and not detached
    returning columns is not null into had_rows;
    if had_rows then
        update @extschema@.job set columns = null where cookie = in_cookie;
        delete from @extschema@.job_rows where cookie = in_cookie;
    end if;
    return found;
end
$plpgsql$;

-- Purpose: a chunk of a finished job's rows, for a session whose own snapshot is older than the job's end.
create function @extschema@._chunk(in_cookie int8, in_chunk int4, in_seal text) returns text[]
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform @extschema@._check_seal('rows|' || in_cookie, in_seal);
    return (select r.rows from @extschema@.job_rows r where r.cookie = in_cookie and r.chunk = in_chunk);
end
$plpgsql$;

-- Purpose: a job's messages in order, for a session whose own snapshot is older than the job's end.
create function @extschema@._messages(
    in_cookie int8, in_seal text,
    out seq int4, out severity text, out message text, out detail text, out hint text) returns setof record
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform @extschema@._check_seal('messages|' || in_cookie, in_seal);
    return query
        select m.seq, m.severity, m.message, m.detail, m.hint
          from @extschema@.job_message m
         where m.cookie = in_cookie
         order by m.seq;
end
$plpgsql$;
