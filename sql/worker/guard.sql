-- Purpose: a job's time-out, kept by a session of its own, because nothing that the job does to its own session reaches it: after
-- timeout_ms the job is canceled, a second later its worker is ended.
-- It waits in short slices with a commit after each, so that it is nobody's old snapshot.
-- Parameters: the job; its lock; ms; the seals of the two commands it may have to give.
create procedure @extschema@._guard(in_cookie int8, in_lock_key int8, timeout_ms int4, expire_seal text, terminate_seal text)
language plpgsql
as $plpgsql$
declare
    deadline timestamptz := pg_catalog.clock_timestamp()
        operator(pg_catalog.+) pg_catalog.make_interval(secs => timeout_ms::float8 operator(pg_catalog./) 1000);
    left_ms int4;
begin
    loop
        left_ms := extract(epoch from deadline operator(pg_catalog.-) pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000;
        exit when left_ms operator(pg_catalog.<=) 0;
        if @extschema@._await_lock(in_lock_key, least(left_ms, 500)) then
            return;
        end if;
        commit;
    end loop;
    perform @extschema@._cancel(in_cookie, expire_seal, true);
    commit;
    if not @extschema@._await_lock(in_lock_key, 1000) then
        perform @extschema@._terminate(in_cookie, terminate_seal);
        commit;
        perform @extschema@._await_lock(in_lock_key, 10000);
    end if;
    perform @extschema@._close_dead(in_cookie, terminate_seal);
end
$plpgsql$;
