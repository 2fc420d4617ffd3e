-- The queue: jobs that found no room wait in the registry. Whoever comes by starts the next one; a worker that ends comes by.

-- Purpose: the job that is to start next: of the role with the fewest running jobs, the one of the highest priority, launched first, that is
-- due and that its limits leave room for; null where there is none, on a standby always. take() looks again, under the locks that count.
-- Parameters: the logins that no worker can be opened for now; hopeful, where the caller can do something about places that the dead and the
-- overdue still take: a job that has no room only because of them is worth a try then.
create function pgbackground.next_queued(crowded oid[] default '{}', hopeful bool default false) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    candidate record;
    reached record;
    first_cookie int8;
    full_role oid;
    home_here text := pgbackground.home();
begin
    if pg_is_in_recovery() then
        return null;
    end if;
    -- A job may end while this looks: then the next look sees the place that it leaves, and whose turn it is.
    <<looks>>
    for look in 1 .. 3 loop
        first_cookie := null;
        full_role := null;
        for candidate in
            with recursive waiting (role) as (
                (select j.role from pgbackground.job j where j.state = 'queued' and j.run_at is null order by j.role limit 1)
                union all
                select (select j.role from pgbackground.job j where j.state = 'queued' and j.run_at is null and j.role > w.role order by j.role limit 1)
                  from waiting w where w.role is not null
            ), role_in_turn as (
                select r.role, (select count(*) from pgbackground.job j where j.live and j.state = 'running' and j.role = r.role) as running
                  from (select w.role from waiting w where w.role is not null
                        union select b.role from pgbackground.role_row b
                        union (select j.role from pgbackground.job j
                                where j.state = 'queued' and j.run_at <= clock_timestamp() order by j.run_at limit 100)) r
            )
            select first.*, r.running, min(first.launched_at) over (partition by first.role) as role_since,
                   (select count(*) from pgbackground.job j where j.live and j.state = 'running') as jobs
              from role_in_turn r,
                   lateral (
                       select distinct on (q.launcher_pid) q.cookie, q.role, q.login, q.launcher_pid, q.session_limit, q.launched_at, q.priority
                         from ((select j.* from pgbackground.job j
                                 where j.state = 'queued' and j.run_at is null and j.role = r.role and j.home = home_here
                                   and j.login <> all (crowded)
                                 order by j.priority desc, j.launched_at limit 32)
                               union all
                               (select j.* from pgbackground.job j
                                 where j.state = 'queued' and j.run_at <= clock_timestamp() and j.role = r.role and j.home = home_here
                                   and j.login <> all (crowded)
                                 order by j.run_at limit 32)
                               union all
                               select j.* from pgbackground.job j
                                where j.live and j.state = 'running' and j.begun is false and j.role = r.role and j.home = home_here
                                  and j.login <> all (crowded) and pgbackground.goes_back(j) and pgbackground.is_dead(j)) q
                        order by q.launcher_pid, q.priority desc, q.launched_at, q.cookie) first
             order by r.running, role_since, first.priority desc, first.launched_at
        loop
            continue when candidate.role = full_role;
            select * into reached
              from pgbackground.limit_reached(candidate.role, candidate.login, candidate.launcher_pid, candidate.session_limit);
            if reached.scope is null then
                continue looks when reached.jobs < candidate.jobs and look < 3;
                return candidate.cookie;
            end if;
            first_cookie := coalesce(first_cookie, candidate.cookie);
            exit when reached.scope = 'database';
            if reached.scope = 'role' then
                full_role := candidate.role;
            end if;
        end loop;
        exit when not hopeful or first_cookie is null
            or not exists (select from pgbackground.job j
                            where j.live and j.state = 'running'
                              and (pgbackground.is_overdue(j) or pgbackground.is_dead(j)));
        if look >= 2 then
            return first_cookie;
        end if;
    end loop;
    return null;
end
$plpgsql$;

-- Purpose: make this session the worker of a queued job of its own login and role, if it is still there and there is room.
-- Returns: the key of the job's lock and its time-out in ms; key is null where it could not be had; unfit, as register.
create function pgbackground.take(in_cookie int8, out lock_key int8, out timeout_ms int4, out unfit bool)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
declare
    me record := pgbackground.top_level_identity();
    j pgbackground.job;
begin
    perform pgbackground.only_over_a_link();
    unfit := not pgbackground.is_fit();
    if unfit then
        return;
    end if;
    perform pgbackground.lost(in_cookie);
    select * into j from pgbackground.job b
     where b.cookie = in_cookie and b.state = 'queued' and b.login = me.login and b.role = me.role and b.home = pgbackground.home();
    if found then
        lock_key := pgbackground.take_row(j);
        timeout_ms := case when lock_key is not null then j.timeout_ms end;
    end if;
end
$plpgsql$;

-- Purpose: take a queued job for this session. Who finds its role's row locked leaves the job to those who are at work there.
-- Returns: the key of the job's lock; null where it could not be had. Tables: job (update).
create function pgbackground.take_row(j pgbackground.job) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    reached record;
    new_key int8;
begin
    if not exists (select from pgbackground.role_row r where r.role = j.role) then
        insert into pgbackground.role_row (role) values (j.role) on conflict do nothing;
    end if;
    perform from pgbackground.role_row r where r.role = j.role for update skip locked;
    if not found then
        return null;
    end if;
    perform from pgbackground.job b
      where b.cookie = j.cookie and b.state = 'queued' and (b.run_at is null or b.run_at <= clock_timestamp()) for update skip locked;
    if not found then
        return null;
    end if;
    select * into reached
      from pgbackground.take_place(j.cookie, j.role, j.login, j.launcher_pid, j.session_limit, false, pgbackground.rules(j.role));
    if reached.scope is not null then
        perform pgbackground.expire_overdue();
        return null;
    end if;
    new_key := pgbackground.open_job(j.cookie);
    -- Should this be lost in a crash, the job is in the queue, as it was.
    perform set_config('synchronous_commit', 'off', true);
    update pgbackground.job b
       set state = 'running', pid = pg_backend_pid(), lock_key = new_key, started_at = clock_timestamp(), begun = false
     where b.cookie = j.cookie;
    return new_key;
end
$plpgsql$;

-- Purpose: what a worker that has ended a job does next. Nothing nearly always, and then this costs a few looks into indexes.
-- Returns: the cookie of a queued job that this worker has taken, and the role it runs as; cookie 0 when the next one must be started over a
-- link, because it needs another login, a clock of its own, or the top level; -1 when somebody else is at work on the queue at this moment;
-- null when there is none.
create function pgbackground.take_next(last_cookie int8, has_clock bool, out cookie int8, out role_name text)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set lock_timeout = '3s'
as $plpgsql$
declare
    next_job pgbackground.job;
    later bool;
    releases bool := false;
begin
    perform pgbackground.only_in_a_call();
    if last_cookie is not null and exists (select from pgbackground.request r where r.cookie = last_cookie and r.kind = 'detach') then
        -- It came too late for the job's own record to see it.
        perform pgbackground.drop_results(last_cookie);
    end if;
    if exists (select from pgbackground.dependency) then
        -- Nobody's rows but those of his own login, or of who waits for his job: this may be called in an open transaction.
        if last_cookie is null then
            perform pgbackground.release_all((select i.login from pgbackground.top_level_identity() i));
        elsif exists (select from pgbackground.job j where j.cookie = last_cookie and not j.live and j.login_name = session_user) then
            perform pgbackground.release_after(last_cookie);
            releases := true;
        end if;
    end if;
    later := exists (select from pgbackground.job j where j.state = 'queued' and j.run_at is not null);
    if not exists (select from pgbackground.job j where j.state = 'queued' and j.run_at is null)
       and not (later and exists (select from pgbackground.job j where j.state = 'queued' and j.run_at <= clock_timestamp())) then
        if (later or exists (select from pgbackground.schedule s where s.active)) and pgbackground.clock_is_missing() then
            cookie := 0;
        end if;
        return;
    end if;
    -- One worker of a role at a time: the others would only find out the same. Who has ended no job yet comes for his login's own.
    perform from pgbackground.role_row r
      where r.role = case when last_cookie is null then (select i.login from pgbackground.top_level_identity() i)
                          else (select j.role from pgbackground.job j where j.cookie = last_cookie and j.login_name = session_user) end
        for update skip locked;
    if not found and (last_cookie is not null or exists (
            select from pgbackground.role_row r where r.role = (select i.login from pgbackground.top_level_identity() i))) then
        cookie := -1;
        return;
    end if;
    -- As hopeful as everybody else who starts jobs: they leave the queue to whoever is at work there.
    select * into next_job from pgbackground.job j where j.cookie = (select pgbackground.next_queued(hopeful => true));
    if not found then
        return;
    end if;
    -- The clock of the worker's CALL runs on; a job that has or wants one gets a CALL of its own. So does one after a job that was
    -- canceled: a signal may still be on its way to this session.
    if has_clock or next_job.timeout_ms > 0 or array_position(next_job.setting_names, 'statement_timeout') is not null
       or next_job.mode <> 'inline' or next_job.login_name <> session_user or next_job.state <> 'queued'
       or not (next_job.role = next_job.login or pg_has_role(next_job.login, next_job.role, case
               when current_setting('server_version_num')::int4 >= 160000 then 'SET' else 'MEMBER' end))
       or pgbackground.signal_may_come(last_cookie) then
        cookie := 0;
    elsif last_cookie is not null and next_job.launcher_pid = 0
          -- Short jobs of a long queue are run sooner one after the other than workers are started for them.
          and (releases or (select j.finished_at > coalesce(j.started_at, j.launched_at) + interval '50 milliseconds'
                                                from pgbackground.job j where j.cookie = last_cookie))
          and pgbackground.another_could_start(next_job) and pgbackground.becomes_starter() then
        cookie := 0;
    elsif pgbackground.take_row(next_job) is null then
        cookie := -1;
    else
        cookie := next_job.cookie;
        role_name := case when next_job.role = next_job.login then 'none' else next_job.role_name end;
    end if;
end
$plpgsql$;

-- Purpose: begin with a job that was taken from the queue: from the commit of this on it does not go back there.
-- Returns: the settings it runs with. Raises 42501 for anybody but its worker. Tables: job (update).
create function pgbackground.begin_queued(in_cookie int8, out setting_names text[], out setting_values text[])
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    -- What the job does outside of this database would not be forgotten with this.
    perform set_config('synchronous_commit', 'local', true);
    update pgbackground.job j
       set begun = true
     where j.cookie = in_cookie and j.pid = pg_backend_pid() and j.state = 'running'
    returning j.setting_names, j.setting_values into setting_names, setting_values;
    if not found then
        raise exception using errcode = '42501', message = 'this session is not the worker of that job';
    end if;
end
$plpgsql$;

-- Purpose: the processes that do the work of those running jobs whose places a queued job waits for.
create function pgbackground.in_the_way(in_cookie int8) returns setof int4
language sql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $sql$
    select coalesce(r.executor_pid, r.pid)
      from pgbackground.job q
     cross join pgbackground.limit_reached(q.role, q.login, q.launcher_pid, q.session_limit) l
      join pgbackground.job r on r.live and r.state = 'running' and case l.scope
           when 'session' then r.launcher_pid = q.launcher_pid when 'role' then r.role = q.role else l.scope is not null end
     where q.cookie = in_cookie
$sql$;

-- Purpose: a queued job that can never start (its role is gone, its login is refused) ends with that error.
create function pgbackground.refuse(in_cookie int8, in_sqlstate text, in_message text, in_detail text, in_hint text) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform from pgbackground.job b where b.cookie = in_cookie and b.state = 'queued' for update skip locked;
    if not found then
        return false;
    end if;
    perform pgbackground.end_without_worker(in_cookie, in_sqlstate, in_message, in_detail, in_hint);
    return true;
end
$plpgsql$;
