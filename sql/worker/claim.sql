-- Purpose: the worker takes up the job it registered: from here on the job's own transaction holds the job's lock,
-- so that the end of the transaction, and nothing else, frees it.
-- Returns: the job's row, with the token that _store_rows and _record ask for. Only the first call in a transaction gets it:
-- the job's own SQL comes later and is refused. Raises 42501; 57014 when the job was canceled before this, while its worker
-- was not yet busy and the signal had nothing to interrupt.
-- Tables: job (read).
create function @extschema@._claim(in_cookie int8) returns @extschema@.job
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j @extschema@.job;
    seen record;
    marked bool := false;
begin
    if pg_current_xact_id_if_assigned() is null then
        perform pg_current_xact_id();
        select t as job, t.cancel_requested or t.xmax::text <> '0' as touched into seen
          from @extschema@.job t
         where t.cookie = in_cookie and t.pid = pg_backend_pid() and t.state = 'running';
        j := seen.job;
    end if;
    if j.cookie is null then
        raise exception using errcode = '42501', message = 'this session is not the worker of that job';
    end if;
    -- Whoever cancels from here on sends the signal to a busy worker. Who has begun before has changed the row already, so that
    -- xmax shows it: wait for the end of that, and let go of the row again with the subtransaction.
    if seen.touched then
        begin
            select t.cancel_requested into marked from @extschema@.job t where t.cookie = in_cookie for share;
            raise sqlstate 'PGBGL';
        exception
            when query_canceled then
                marked := true;
            when sqlstate 'PGBGL' then
                null;
            when serialization_failure then
                return null;
        end;
    end if;
    if marked then
        perform pg_advisory_unlock(j.lock_key);
        raise exception using errcode = '57014', message = 'canceling statement due to user request';
    end if;
    perform pg_advisory_xact_lock(j.lock_key);
    perform pg_advisory_unlock(j.lock_key);
    return j;
end
$plpgsql$;
