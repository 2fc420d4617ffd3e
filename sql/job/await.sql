-- Purpose: wait for a job's lock for so many ms (0: only try). Returns whether the lock came free: then the job has ended.
-- A wait for a lock costs nothing while it lasts, can be canceled, and the server's deadlock detector sees it.
create function pgbackground.await_lock(key int8, patience_ms int4) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if pg_is_in_recovery() then
        -- The lock is the primary's, and is always free here: what tells the end is the registry.
        perform pg_sleep(patience_ms / 1000.0);
        return false;
    end if;
    -- One expression, so that no cancel comes in between.
    if (case when pg_try_advisory_lock_shared(key) then pg_advisory_unlock_shared(key) end) then
        return true;
    end if;
    if patience_ms <= 0 then
        -- As a lock_timeout, 0 would mean for ever.
        return false;
    end if;
    perform set_config('lock_timeout', patience_ms::text, true);
    -- Let go by the end of the subtransaction, also where the lock comes at the same moment as the time-out or a cancel.
    perform pg_advisory_xact_lock_shared(key);
    raise sqlstate 'PGBGL';
exception
    when lock_not_available then
        return false;
    when sqlstate 'PGBGL' then
        -- Raised to take lock_timeout and the lock back with the subtransaction.
        return true;
end
$plpgsql$;

-- Purpose: does one of these processes wait, directly or through others, for this session?
create function pgbackground.waits_for_me(pids int4[]) returns bool
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    with recursive blocker (pid) as (
        select b.pid from unnest(pids) w (pid), unnest(pg_blocking_pids(w.pid)) b (pid)
        union
        select b.pid from blocker w, unnest(pg_blocking_pids(w.pid)) b (pid)
         where w.pid <> pg_backend_pid()
    )
    select exists (select from blocker where pid = pg_backend_pid())
$sql$;
