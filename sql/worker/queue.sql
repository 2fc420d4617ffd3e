-- The queue: jobs that found no room wait in the registry. Whoever comes by starts the next one; a worker that ends comes by.

-- Purpose: the job that is to start next: of the role with the fewest running jobs, the one launched first, that its limits leave
-- room for; null where there is none, on a standby always. The caller holds the lock on registration, or asks again under it.
-- Parameters: the logins that no worker can be opened for now; hopeful, where the caller asks again and buries the dead then and
-- ends the overdue: a job that has no room only because of them is worth a try, and so is one that lost its worker before it began.
create function @extschema@._next_in_queue(crowded oid[] default '{}', hopeful bool default false) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    candidate record;
    reached record;
    first_cookie int8;
begin
    if pg_is_in_recovery() then
        return null;
    end if;
    for candidate in
        select first.*, (select count(*) from @extschema@.job r where r.state = 'running' and r.role = first.role) as running
          from (select distinct on (j.role, j.launcher_pid) j.cookie, j.role, j.launcher_pid, j.session_limit, j.launched_at
                  from @extschema@.job j
                 where j.state in ('queued', 'running') and j.login <> all (crowded)
                   and (j.state = 'queued' and j.pid = 0
                        or hopeful and j.state = 'running' and j.begun is false
                           and @extschema@._goes_back(j) and @extschema@._is_dead(j.lock_key, j.pid))
                 order by j.role, j.launcher_pid, j.launched_at, j.cookie) first
         order by running, first.launched_at
    loop
        select * into reached
          from @extschema@._reached_limit(candidate.role, candidate.launcher_pid, candidate.session_limit);
        if reached.scope is null then
            return candidate.cookie;
        end if;
        first_cookie := coalesce(first_cookie, candidate.cookie);
    end loop;
    if hopeful and first_cookie is not null
       and exists (select from @extschema@.job j
                    where j.state = 'running'
                      and (@extschema@._is_dead(j.lock_key, j.pid)
                           or @extschema@._is_overdue(j))) then
        return first_cookie;
    end if;
    return null;
end
$plpgsql$;

-- Purpose: make this worker the one of a queued job: running, with the job's lock held. The caller holds the lock on registration.
create function @extschema@._take_up(in_cookie int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    key int8;
begin
    -- Should this be lost in a crash, the job is in the queue, as it was.
    perform set_config('synchronous_commit', 'off', true);
    update @extschema@.job
       set state = 'running', pid = pg_backend_pid(), started_at = clock_timestamp(), begun = false
     where cookie = in_cookie
    returning lock_key into key;
    perform nextval('@extschema@.room');
    perform @extschema@._open_books(key);
end
$plpgsql$;

-- Purpose: a worker that was opened for a queued job takes it up, if it is still there and there is still room.
-- Returns: whether it has. Raises 42501.
create function @extschema@._take_queued(in_cookie int8, in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10s'
as $plpgsql$
declare
    j record;
    full_house record;
begin
    perform @extschema@._check_seal(concat_ws('|', 'take', in_cookie, pg_backend_pid()), in_seal);
    if not @extschema@._close_books() then
        return false;
    end if;
    lock table @extschema@.registration in exclusive mode;
    select * into j from @extschema@.job where cookie = in_cookie and state = 'running' and begun is false for update;
    if found and @extschema@._is_dead(j.lock_key, j.pid) then
        perform @extschema@._bury(in_cookie);
    end if;
    select * into j from @extschema@.job where cookie = in_cookie and state = 'queued' for update;
    if not found then
        return false;
    end if;
    select * into full_house from @extschema@._no_room(j.role, j.launcher_pid, j.session_limit, false);
    if full_house.scope is not null then
        perform @extschema@._expire_overdue();
        return false;
    end if;
    perform @extschema@._take_up(in_cookie);
    return true;
end
$plpgsql$;

-- Purpose: what a worker that has ended a job does next. Nothing nearly always, and then this costs one look into an index.
-- Returns: the cookie of a queued job that this worker has taken up; 0 when the next one needs another login, a guard, or the top
-- level, so that it must be started over a link; null when there is none, and for anybody but a worker: whoever could call this
-- in a transaction of his own would hold the lock on registration as long as he likes.
create function @extschema@._next_job(in_cookie int8, in_token uuid) returns int8
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    next_cookie int8;
begin
    if not exists (select from @extschema@.job j where j.pid = 0 and j.state = 'queued')
       or not @extschema@._has_ended(in_cookie, in_token) then
        return null;
    end if;
    lock table @extschema@.registration in exclusive mode;
    next_cookie := @extschema@._next_in_queue();
    if next_cookie is null then
        return null;
    end if;
    -- What this worker cannot be certain to run is left to a link, which can be refused.
    if coalesce(current_setting('pg_background.unfit', true), '') = 'on' or not exists (
        select from @extschema@.job j join pg_roles l on l.oid = j.login join pg_roles r on r.oid = j.role
         where j.cookie = next_cookie and j.state = 'queued' and l.rolname = session_user
           and (j.role = j.login or pg_has_role(
               l.oid, r.oid, case when current_setting('server_version_num')::int4 >= 160000 then 'SET' else 'MEMBER' end))
           and j.mode = 'inline' and j.timeout_ms = 0
           and array_position(j.setting_names, 'statement_timeout') is null
           for update of j skip locked) then
        return 0;
    end if;
    perform @extschema@._take_up(next_cookie);
    return next_cookie;
end
$plpgsql$;

-- Purpose: begin with a job that was taken from the queue: from the commit of this on it does not go back there.
-- Returns: the settings and the role it runs with. Raises 42501 for anybody but its worker. Tables: job (update).
create function @extschema@._queued_settings(in_cookie int8, out setting_names text[], out setting_values text[], out role_name text)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if current_setting('synchronous_commit') = 'off' then
        -- What the job does outside of this database would not be forgotten with it.
        perform set_config('synchronous_commit', 'local', true);
    end if;
    update @extschema@.job j
       set begun = true
      from pg_roles r
     where j.cookie = in_cookie and j.pid = pg_backend_pid() and j.state = 'running' and r.oid = j.role
    returning j.setting_names, j.setting_values, case when j.role = j.login then 'none' else r.rolname end
      into setting_names, setting_values, role_name;
    if not found then
        raise exception using errcode = '42501', message = 'this session is not the worker of that job';
    end if;
end
$plpgsql$;

-- Purpose: the processes that do the work of those running jobs whose places a queued job waits for. Raises 42501.
create function @extschema@._in_the_way(in_cookie int8, in_seal text) returns setof int4
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform @extschema@._check_seal('way|' || in_cookie, in_seal);
    return query
        select coalesce(r.executor_pid, r.pid)
          from @extschema@.job q
         cross join @extschema@._reached_limit(q.role, q.launcher_pid, q.session_limit) l
          join @extschema@.job r on r.state = 'running' and case l.scope
               when 'session' then r.launcher_pid = q.launcher_pid when 'role' then r.role = q.role else true end
         where q.cookie = in_cookie;
end
$plpgsql$;

-- Purpose: a queued job that can never start (its role is gone, its login is refused) ends with that error.
create function @extschema@._refuse_queued(in_cookie int8, in_sqlstate text, in_message text, in_detail text, in_hint text,
                                           in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform @extschema@._check_seal('refuse|' || in_cookie, in_seal);
    update @extschema@.job
       set state = 'error', finished_at = clock_timestamp(), sqlstate = in_sqlstate, message = in_message,
           detail = in_detail, hint = in_hint
     where cookie = in_cookie and state = 'queued';
    return found;
end
$plpgsql$;

-- Purpose: start queued jobs over links, from a worker that has just ended a job.
create procedure @extschema@._start_queued()
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select @extschema@._load()')
GD["pg_background @hash@"].start_queued()
$python$;
