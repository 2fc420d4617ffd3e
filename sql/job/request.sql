-- Wishes for a live job. A cancel is two steps, each a transaction of its own: first the request, then, when that is committed, the signal.
-- Where no connection is left for a transaction of its own, the signal comes first, under an announcement: a lock that the worker looks at before
-- it takes another job, as it looks at the requests.

-- Purpose: has a role the rights of the job's owner? signal: members of pg_signal_backend have, but not over a superuser's job.
create function pgbackground.may(me oid, j pgbackground.job, signal bool) returns bool
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return pgbackground.has_rights(me, j.home, j.role, j.role_name)
        or signal and pg_has_role(me, 'pg_signal_backend', 'USAGE')
           and not exists (select from pg_roles r where r.oid in (j.role, j.login) and r.rolsuper);
end
$plpgsql$;

-- Purpose: ask a job to stop (cancel), or let go of it (detach), over a link. The job that is queued ends at once.
-- Returns: the job's state before, and the key of its lock. Raises 42704, 55000, 42501. Tables: request (insert), job_rows (delete).
create function pgbackground.request(in_pid int4, in_cookie int8, in_kind text, out state text, out lock_key int8)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
begin
    perform pgbackground.only_over_a_link();
    perform set_config('synchronous_commit', case in_kind when 'detach' then 'off' else 'local' end, true);
    select r.state, r.lock_key into state, lock_key
      from pgbackground.request_as((select i.role from pgbackground.top_level_identity() i), in_pid, in_cookie, in_kind) r;
end
$plpgsql$;

-- Purpose: the same for a role, in this transaction: called through the door where no link is to be had. What cannot be written in a transaction
-- that only reads is left out. Returns and raises as request().
create function pgbackground.request_as(me oid, in_pid int4, in_cookie int8, in_kind text, out state text, out lock_key int8)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
declare
    j pgbackground.job;
begin
    if in_kind not in ('cancel', 'detach') then
        raise exception using errcode = '22023', message = 'a request is cancel or detach';
    end if;
    select * into j from pgbackground.job b where b.cookie = in_cookie;
    if not found then
        raise exception using errcode = '42704', message = 'unknown job';
    elsif in_pid not in (j.pid, 0) and in_pid <> all (coalesce(j.former_pids, '{}')) then
        raise exception using errcode = '55000', message = 'another job''s process';
    elsif not pgbackground.may(me, j, in_kind = 'cancel') then
        raise exception using errcode = '42501', message = 'not your job';
    end if;
    state := j.state;
    lock_key := j.lock_key;
    if current_setting('transaction_read_only')::bool then
        return;
    end if;
    if in_kind = 'detach' and not j.live then
        perform pgbackground.drop_results(in_cookie);
        return;
    end if;
    if not j.live
       or in_kind = 'detach'
          and (j.detached or exists (select from pgbackground.request r where r.cookie = in_cookie and r.kind = 'detach')) then
        return;
    end if;
    insert into pgbackground.request (cookie, kind) values (in_cookie, in_kind);
    if in_kind = 'cancel' and j.state = 'queued' then
        -- Should a worker take it at this moment, that one finds the request.
        perform from pgbackground.job b where b.cookie = in_cookie and b.state = 'queued' for update skip locked;
        if found then
            perform pgbackground.end_without_worker(in_cookie, '57014', 'canceling statement due to user request');
        end if;
    end if;
end
$plpgsql$;

-- Purpose: an ended job has been let go of: its rows go. Tables: job (update), job_rows, request (delete).
create function pgbackground.drop_results(in_cookie int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    update pgbackground.job j set detached = true, columns = null where j.cookie = in_cookie and not j.live and not j.detached;
    delete from pgbackground.job_rows r where r.cookie = in_cookie;
    delete from pgbackground.request r where r.cookie = in_cookie and r.kind = 'detach';
end
$plpgsql$;

-- Purpose: detach, as a command of its own: the request is committed, and then looked at again. A job that records its end at this moment
-- has either seen it, or its worker sees it right after, or the second look sees the end.
create procedure pgbackground.let_go(in_cookie int8)
language plpgsql
as $plpgsql$
begin
    perform pgbackground.request(0, in_cookie, 'detach');
    commit;
    perform pgbackground.request(0, in_cookie, 'detach');
end
$plpgsql$;

-- Purpose: the second step: signal the process that does the job's work, if it still does. Not without a request that an earlier
-- transaction has committed: a worker that sees none has no signal to fear.
-- Parameters: hard, to end the process instead of canceling its statement. Returns: whether a signal was sent.
create function pgbackground.signal(in_cookie int8, hard bool) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j pgbackground.job;
begin
    perform pgbackground.only_over_a_link();
    select * into j from pgbackground.job b where b.cookie = in_cookie and b.state = 'running';
    if not found or not pgbackground.may((select i.role from pgbackground.top_level_identity() i), j, true) or not pgbackground.holds(j.lock_key, j.pid)
       or not exists (select from pgbackground.request r
                       where r.cookie = in_cookie and r.kind in ('cancel', 'expire')
                         and r.transaction is distinct from pg_current_xact_id_if_assigned()) then
        return false;
    end if;
    return pgbackground.send_signal(j, hard);
end
$plpgsql$;

-- The announcement of a cancel: an advisory lock whose key is the cookie below zero, where no job's own key is. It is shared, the canceler's
-- session holds it from before he looks whether the job runs until his signal has arrived, and a worker that finds it held takes no other
-- job. So no signal reaches a wrong one: who announces after the worker has looked finds the job's own lock free. Everybody can hold it who knows
-- the cookie: that costs a connection. What the job itself is told, is_announced_rightly() decides.

-- Purpose: hold the announcement for this session. Whoever keeps it from being had is its worker, for a moment, or holds it for no good.
-- Returns: whether it is held.
create function pgbackground.announce(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    for attempt in 1 .. 100 loop
        if pg_try_advisory_lock_shared(- in_cookie) then
            return true;
        end if;
        perform pg_sleep(0.002);
    end loop;
    return false;
end
$plpgsql$;

create function pgbackground.withdraw(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return pg_advisory_unlock_shared(- in_cookie);
end
$plpgsql$;

-- Purpose: has somebody announced a cancel, or does he say so? For the job's own worker alone.
create function pgbackground.is_announced(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    -- One expression, so that no cancel comes in between. Nearly always nobody has it.
    return in_cookie is not null
       and not (case when pg_try_advisory_lock(- in_cookie) then pg_advisory_unlock(- in_cookie) else false end);
end
$plpgsql$;

-- Purpose: the same of somebody who may cancel the job: whose session's user has the right to, or could SET ROLE to the owner. Who cancels
-- in a SECURITY DEFINER function of the owner is not known by that: his signal is all that the job hears of.
create function pgbackground.is_announced_rightly(j pgbackground.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not pgbackground.is_announced(j.cookie) then
        return false;
    end if;
    perform pg_stat_clear_snapshot();
    return exists (
        select from pg_locks l
          join pg_database d on d.oid = l.database and d.datname = current_database(),
               pg_stat_get_activity(l.pid) a
         where l.locktype = 'advisory' and l.granted and l.mode = 'ShareLock' and l.objsubid = 1
           and l.classid::int8 = (- j.cookie >> 32 & 4294967295) and l.objid::int8 = (- j.cookie & 4294967295)
           and (pgbackground.may(a.usesysid, j, true) or pg_has_role(a.usesysid, j.role, 'MEMBER')));
end
$plpgsql$;

-- Purpose: is a job to be canceled, as its own worker sees it before it begins with it?
create function pgbackground.is_canceled(j pgbackground.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return pgbackground.stop_is_requested(j.cookie) or pgbackground.is_announced_rightly(j);
end
$plpgsql$;

-- Purpose: may a signal for this job still be on its way to its worker?
create function pgbackground.signal_may_come(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return pgbackground.stop_is_requested(in_cookie) or pgbackground.is_announced(in_cookie);
end
$plpgsql$;

-- Purpose: does a worker hold the lock of this job?
create function pgbackground.is_at_work(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return exists (select from pgbackground.job j where j.cookie = in_cookie and j.state = 'running' and pgbackground.holds(j.lock_key, j.pid));
end
$plpgsql$;

-- Purpose: the signal of somebody who has announced it and has the right to. Called through the door only.
-- Parameters: hard, see signal(). Returns: whether a signal was sent. It has reached its process when this returns.
create function pgbackground.signal_announced(in_cookie int8, hard bool) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j pgbackground.job;
begin
    select * into j from pgbackground.job b where b.cookie = in_cookie and b.state = 'running';
    if not found or not pgbackground.holds(j.lock_key, j.pid) then
        return false;
    end if;
    perform pgbackground.send_signal(j, hard);
    perform pg_sleep(0.002);
    return true;
end
$plpgsql$;

create function pgbackground.send_signal(j pgbackground.job, hard bool) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not hard then
        return pg_cancel_backend(coalesce(j.executor_pid, j.pid));
    end if;
    if j.executor_pid is not null then
        -- First, because it holds the effects.
        perform pg_terminate_backend(j.executor_pid);
    end if;
    return pg_terminate_backend(j.pid);
end
$plpgsql$;

-- Purpose: jobs that run on although their time is over, for two seconds now: on 17 and later the server has ended them, before that a job
-- may catch the cancel. First ask, then signal, then end the process: each call goes one step, whoever comes by makes it.
-- Returns: how many jobs it has done something about. Tables: request (insert).
create function pgbackground.expire_overdue() returns int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
declare
    overdue pgbackground.job;
    asked record;
    done int4 := 0;
begin
    if pg_is_in_recovery() or current_setting('transaction_read_only')::bool then
        return 0;
    end if;
    for overdue in select * from pgbackground.job j where pgbackground.is_overdue(j) loop
        select min(r.requested_at) as at into asked
          from pgbackground.request r
         where r.cookie = overdue.cookie and r.kind = 'expire' and r.transaction is distinct from pg_current_xact_id_if_assigned();
        if asked.at is null then
            insert into pgbackground.request (cookie, kind) values (overdue.cookie, 'expire');
        elsif pgbackground.holds(overdue.lock_key, overdue.pid) then
            perform pgbackground.send_signal(overdue, asked.at < clock_timestamp() - interval '1 second');
        else
            perform pgbackground.lost(overdue.cookie);
        end if;
        done := done + 1;
    end loop;
    return done;
end
$plpgsql$;

-- Purpose: should the job have been ended by now? A second late: then nothing has ended it.
create function pgbackground.is_overdue(j pgbackground.job) returns bool
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return j.live and j.state = 'running' and j.timeout_ms > 0 and not pg_is_in_recovery() and j.home = pgbackground.home()
       and clock_timestamp() >= coalesce(j.started_at, j.launched_at) + j.timeout_ms * interval '1 millisecond' + interval '1 second';
end
$plpgsql$;
