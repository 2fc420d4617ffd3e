-- Purpose: is the worker of a running job gone? Its advisory lock is free then, whatever ended it.
-- A standby holds none of the primary's locks and knows nothing; a job that asks about itself is alive.
create function @extschema@._is_dead(lock_key int8, worker_pid int4) returns bool
language plpgsql volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if worker_pid = pg_backend_pid() or pg_is_in_recovery() then
        return false;
    end if;
    -- One expression, so that no cancel comes in between.
    if (case when pg_try_advisory_lock_shared(lock_key) then pg_advisory_unlock_shared(lock_key) end) then
        return true;
    end if;
    -- Anybody may take a lock whose key he sees in pg_locks: what counts is who holds it.
    return not @extschema@._holds(lock_key, worker_pid);
end
$plpgsql$;

-- Purpose: was the job canceled before its worker took it up? The signal has ended the command then that was to begin it, and the
-- worker idles with the job's lock, until its link is used again.
create function @extschema@._never_began(j @extschema@.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not j.cancel_requested or pg_is_in_recovery() then
        return false;
    end if;
    perform pg_stat_clear_snapshot();
    return exists (select from pg_stat_get_activity(j.pid) a where a.state = 'idle');
end
$plpgsql$;

-- Purpose: does a job whose worker is gone go back into the queue? When it came from there, had not begun, and nobody has canceled it.
-- One that has lost so many workers would go on to lose them.
create function @extschema@._goes_back(j @extschema@.job) returns bool
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return j.begun is false and j.executor_pid is null and not j.cancel_requested and coalesce(cardinality(j.former_pids), 0) < 10;
end
$plpgsql$;

-- Purpose: what is to be said of a job whose worker is gone without a record.
-- An inline job's effects and its record are one transaction, so no record means no effects. Tables: job_commit (read).
create function @extschema@._verdict(j @extschema@.job) returns @extschema@.job
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    success @extschema@.job_commit;
begin
    select * into success from @extschema@.job_commit c where c.cookie = j.cookie;
    if found then
        j.state := 'stopped';
        j.row_count := success.row_count;
        j.command_tag := j.expected_tag;
        j.columns := case when not j.detached then success.columns end;
        j.progress_pct := @extschema@._progress_pct(success.progress);
        j.progress_msg := @extschema@._progress_msg(success.progress);
        j.token := null;
        return j;
    end if;
    j.row_count := 0;
    j.command_tag := '';
    j.columns := null;
    if @extschema@._goes_back(j) then
        j.state := 'queued';
        j.former_pids := j.former_pids || j.pid;
        j.pid := 0;
        j.started_at := null;
        j.begun := null;
        return j;
    end if;
    j.token := null;
    if j.timed_out then
        j.state := 'error';
        j.sqlstate := '57014';
        j.message := 'canceling statement due to worker timeout';
    elsif j.cancel_requested then
        j.state := 'canceled';
        j.sqlstate := '57014';
        j.message := 'canceling statement due to user request';
    elsif j.mode = 'inline' then
        j.state := 'error';
        j.sqlstate := '57P01';
        j.message := 'the worker ended before the job did';
        j.detail := 'Its transaction was rolled back: nothing of the job took effect.';
    else
        j.state := 'error';
        j.sqlstate := '08007';
        j.message := 'the worker ended before the job''s outcome was known';
        j.detail := 'The statement ran outside a transaction block: all, some or nothing of it may have taken effect.';
    end if;
    return j;
end
$plpgsql$;

-- Purpose: write the verdict into the registry. The caller holds the row's lock and knows that the worker is gone.
-- Tables: job (update), job_rows (delete), job_commit (delete).
create function @extschema@._bury(in_cookie int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j @extschema@.job;
begin
    select * into j from @extschema@.job where cookie = in_cookie;
    j := @extschema@._verdict(j);
    if j.state = 'queued' then
        update @extschema@.job
           set state = j.state, pid = j.pid, started_at = j.started_at, begun = j.begun, former_pids = j.former_pids
         where cookie = in_cookie;
        return;
    end if;
    update @extschema@.job
       set state = j.state, finished_at = clock_timestamp(), row_count = j.row_count, command_tag = j.command_tag,
           columns = j.columns, progress_pct = j.progress_pct, progress_msg = j.progress_msg,
           sqlstate = j.sqlstate, message = j.message, detail = j.detail
     where cookie = in_cookie;
    delete from @extschema@.job_commit where cookie = in_cookie;
    if found and j.detached then
        delete from @extschema@.job_rows where cookie = in_cookie;
    end if;
end
$plpgsql$;

-- Purpose: close the books of every job whose worker died. Returns how many.
-- Rows that somebody else is just recording are left alone: they are not dead.
create function @extschema@._sweep() returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    candidate int8;
    key int8;
    worker int4;
    buried int4 := 0;
begin
    for candidate in
        select j.cookie from @extschema@.job j
         where j.state = 'running' and (@extschema@._is_dead(j.lock_key, j.pid) or @extschema@._never_began(j))
    loop
        select j.lock_key, j.pid into key, worker
          from @extschema@.job j
         where j.cookie = candidate and j.state = 'running'
           for update skip locked;
        if found and (
            @extschema@._is_dead(key, worker)
            or exists (select from @extschema@.job j where j.cookie = candidate and @extschema@._never_began(j))) then
            perform @extschema@._bury(candidate);
            buried := buried + 1;
        end if;
    end loop;
    return buried;
end
$plpgsql$;

-- Purpose: a running job as it must be told at this moment, also to those whose snapshot is older: with the verdict when
-- its worker is gone without a record, with the progress it has reported.
-- Whoever can name both of the job's random keys has been shown its row.
create function @extschema@._now(in_cookie int8, in_lock_key int8) returns @extschema@.job
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j @extschema@.job;
    report text;
begin
    select * into j from @extschema@.job where cookie = in_cookie and lock_key = in_lock_key;
    if j.state = 'running' and (@extschema@._is_dead(j.lock_key, j.pid) or @extschema@._never_began(j)) then
        select * into j from @extschema@.job where cookie = in_cookie;
        if j.state = 'running' then
            j := @extschema@._verdict(j);
        end if;
    end if;
    -- Only the worker itself needs its token.
    j.token := null;
    if j.state = 'running' then
        select a.application_name into report from pg_stat_get_activity(coalesce(j.executor_pid, j.pid)) a;
        j.progress_pct := @extschema@._progress_pct(report);
        j.progress_msg := @extschema@._progress_msg(report);
    end if;
    return j;
end
$plpgsql$;

-- Purpose: a registry row as it must be told now. Ended jobs are told as they stand.
create function @extschema@._as_told(t @extschema@.job) returns @extschema@.job
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if t.state <> 'running' then
        return t;
    end if;
    return @extschema@._now(t.cookie, t.lock_key);
end
$plpgsql$;
