-- Purpose: a job's time-out, kept by a session of its own, because nothing that the job does to its own session reaches it: after
-- timeout_ms the job is canceled, a second later its worker is ended.
-- It waits in short slices with a commit after each, so that it is nobody's old snapshot. A job runs as the same role and may send
-- it a cancel, which it does not heed; one that ends it is found by whoever comes by, see _expire_overdue.
-- Parameters: the job; its lock; ms; the seals of the two commands it may have to give.
create procedure @extschema@._guard(in_cookie int8, in_lock_key int8, timeout_ms int4, expire_seal text, terminate_seal text)
language plpgsql
as $plpgsql$
declare
    deadline timestamptz := pg_catalog.clock_timestamp()
        operator(pg_catalog.+) pg_catalog.make_interval(secs => timeout_ms::float8 operator(pg_catalog./) 1000);
    expired bool := false;
    ended bool := false;
    left_ms int4;
begin
    loop
        begin
            left_ms := extract(epoch from deadline operator(pg_catalog.-) pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000;
            if left_ms operator(pg_catalog.>) 0 then
                exit when @extschema@._await_lock(in_lock_key, least(left_ms, 500));
            elsif not expired then
                perform @extschema@._cancel(in_cookie, expire_seal, true);
                deadline := pg_catalog.clock_timestamp() operator(pg_catalog.+) interval '1 second';
                expired := true;
            elsif not ended then
                perform @extschema@._terminate(in_cookie, terminate_seal);
                deadline := pg_catalog.clock_timestamp() operator(pg_catalog.+) interval '10 seconds';
                ended := true;
            else
                exit;
            end if;
        exception when query_canceled then
            null;
        end;
        commit;
    end loop;
    if expired then
        perform @extschema@._close_dead(in_cookie, terminate_seal);
    end if;
end
$plpgsql$;

-- Purpose: should the guard have acted by now? A second late with the cancel, or with the end of the worker after it: then there is none.
-- On a standby nobody can tell.
create function @extschema@._is_overdue(j @extschema@.job) returns bool
language sql volatile parallel safe
as $sql$
    select j.timeout_ms operator(pg_catalog.>) 0 and not pg_catalog.pg_is_in_recovery() and pg_catalog.clock_timestamp() operator(pg_catalog.>) case
        when j.expired_at is null then coalesce(j.started_at, j.launched_at) operator(pg_catalog.+) interval '1 second'
             operator(pg_catalog.+) (j.timeout_ms operator(pg_catalog.*) interval '1 millisecond')
        else j.expired_at operator(pg_catalog.+) interval '2 seconds' end
$sql$;

-- Purpose: do what the guards of overdue jobs would have done: their own role's sessions, so their jobs, can end them.
-- What somebody else has at hand at this moment is left alone. The signals go out at once, so the caller must commit.
-- Returns: the locks of the jobs whose workers were ended. Tables: job (update).
create function @extschema@._expire_overdue() returns setof int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    candidate int8;
    j record;
begin
    for candidate in
        select r.cookie from @extschema@.job r
         where r.state = 'running' and @extschema@._is_overdue(r)
    loop
        select r.lock_key, r.pid, r.expired_at into j
          from @extschema@.job r
         where r.cookie = candidate and r.state = 'running'
           and @extschema@._is_overdue(r)
           for update skip locked;
        continue when not found;
        if @extschema@._is_dead(j.lock_key, j.pid) then
            if j.expired_at is not null then
                perform @extschema@._bury(candidate);
            end if;
        elsif j.expired_at is null then
            perform @extschema@._cancel(candidate, @extschema@._seal('expire|' || candidate), true);
        else
            perform @extschema@._terminate(candidate, @extschema@._seal('terminate|' || candidate));
            return next j.lock_key;
        end if;
    end loop;
end
$plpgsql$;

-- Purpose: the same over a link, in a transaction of its own, which it ends itself: nobody can hold the jobs' rows with it.
create procedure @extschema@._keep_time_outs()
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select @extschema@._load()')
GD["pg_background @hash@"].keep_time_outs()
$python$;
