-- Purpose: is there room for one more job? Null, or the scope and size of the limit that is reached.
-- Parameters: whose job, which launcher and its own setting; surely_in_session, when the launcher knows that its session has room.
-- Registrations ask one after the other, so the limits hold exactly; dead workers free their places first.
-- Tables: pg_background_limits, job, registration (lock), room.
create function @extschema@._no_room(in_role oid, in_launcher int4, session_limit int4, surely_in_session bool,
                                     out scope text, out max_workers int4)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    lock table @extschema@.registration in exclusive mode;
    if surely_in_session and nextval('@extschema@.room') >= 0 then
        return;
    end if;
    for attempt in 1 .. 2 loop
        select r.scope, r.max_workers into scope, max_workers
          from @extschema@._reached_limit(in_role, in_launcher, session_limit) r;
        exit when scope is null or attempt = 2 or @extschema@._sweep() = 0;
    end loop;
    if scope is null then
        perform setval('@extschema@.room', greatest(@extschema@._room_left() - 1, 0));
    end if;
end
$plpgsql$;

-- Purpose: how many jobs of any role may start before a limit of the database or of a role can be reached. The caller holds the lock
-- on registration. Limits per session cannot be seen from here: where the DBA has set one, nothing may start uncounted.
create function @extschema@._room_left() returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    room int8;
    database_default int4 := greatest(current_setting('max_connections')::int4 / 2, 1);
begin
    with live as materialized (
        select j.role, count(*) as jobs from @extschema@.job j where j.state = 'running' group by j.role
    )
    select least(
               min(case l.scope
                   when 'session' then 0
                   when 'database' then l.max_workers - (select coalesce(sum(v.jobs), 0) from live v)
                   else l.max_workers - coalesce((
                       select max(v.jobs) from live v where l.name is null or pg_get_userbyid(v.role) = l.name), 0)
                   end),
               case when coalesce(bool_or(l.scope = 'database'), false) then null
                    else database_default - (select coalesce(sum(v.jobs), 0) from live v) end)
      into room
      from @extschema@.pg_background_limits l
     where l.name is null or l.scope <> 'database' or l.name = current_database();
    return room;
end
$plpgsql$;

-- Purpose: after a change of the limits the live jobs are counted again; until it is committed, nobody starts one.
create function @extschema@._limits_changed() returns trigger
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    lock table @extschema@.registration in exclusive mode;
    perform setval('@extschema@.room', 0);
    return null;
end
$plpgsql$;
create trigger limits_changed
    after insert or update or delete or truncate on @extschema@.pg_background_limits
    for each statement execute function @extschema@._limits_changed();

-- Purpose: the tightest limit that leaves no room for one more job; nulls when there is room.
-- Without rows in pg_background_limits a session may have its own setting, a database half of max_connections.
create function @extschema@._reached_limit(in_role oid, in_launcher int4, session_limit int4,
                                           out scope text, out max_workers int4)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    of_database int8;
    of_role int8;
    of_session int8;
    database_default int4 := greatest(current_setting('max_connections')::int4 / 2, 1);
begin
    select count(*), count(*) filter (where j.role = in_role), count(*) filter (where j.launcher_pid = in_launcher)
      into of_database, of_role, of_session
      from @extschema@.job j
     where j.state = 'running';
    if of_session >= session_limit then
        scope := 'session';
        max_workers := session_limit;
        return;
    end if;
    select l.scope, l.max_workers into scope, max_workers
      from @extschema@.pg_background_limits l
     where l.max_workers <= case l.scope when 'database' then of_database when 'role' then of_role else of_session end
       and (l.name is null or l.name = case l.scope when 'database' then current_database() else pg_get_userbyid(in_role) end)
     order by l.max_workers
     limit 1;
    if scope is null and of_database >= database_default
       and not exists (select from @extschema@.pg_background_limits l where l.scope = 'database') then
        scope := 'database';
        max_workers := database_default;
    end if;
end
$plpgsql$;

-- Purpose: this worker has a job from here on: it holds the job's lock, and remembers that, until it has come to rest (_rest).
create function @extschema@._open_books(in_lock_key int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pg_advisory_lock(in_lock_key);
    perform set_config('pg_background.books_open', 'on', false);
end
$plpgsql$;

-- Purpose: close the books of the last job of this worker, should it have left them open.
-- Returns: false when this worker must be given up, because a cancel was under way for its last job.
create function @extschema@._close_books() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    last_job record;
begin
    if coalesce(current_setting('pg_background.unfit', true), '') = 'on' then
        return false;
    end if;
    -- A worker that has come to rest has forgotten that its books were open: so most are spared the look into the registry, which
    -- is slow while an old snapshot keeps dead index entries alive.
    if coalesce(current_setting('pg_background.books_open', true), '') = '' then
        return true;
    end if;
    for last_job in
        select j.cookie, j.cancel_requested from @extschema@.job j
         where j.pid = pg_backend_pid() and j.state = 'running'
           for update
    loop
        perform @extschema@._bury(last_job.cookie);
        perform pg_advisory_unlock_all();
        if last_job.cancel_requested then
            return false;
        end if;
    end loop;
    return true;
end
$plpgsql$;

-- Purpose: put a job into the registry, on the worker's side of a link, and hold its lock from here on.
-- Parameters: the job's fields; session_limit, the launcher's pg_background.max_workers; in_queues, whether the job may wait for a
-- place, with the settings it needs then; surely_in_session, see _no_room; in_seal, the launcher's signature.
-- Returns: 'running', or 'queued', or 'unfit' when this link must be given up. Raises 42501, 53400.
-- Tables: job (insert).
create function @extschema@._register(
    in_cookie int8, in_lock_key int8, in_launcher int4, in_role oid, in_label text, in_sql text,
    in_statements text[], in_kinds text[], in_tag text, in_params text[], in_queue_size int4, in_mode text,
    in_keeps_rows bool, in_detached bool, in_session_limit int4, in_timeout_ms int4,
    in_queues bool, in_names text[], in_values text[], surely_in_session bool, in_seal text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10s'
as $plpgsql$
declare
    full_house record;
    new_state text := 'running';
    worker int4 := pg_backend_pid();
begin
    if in_seal is distinct from @extschema@._seal(concat_ws('|', 'register', in_cookie, in_lock_key, in_launcher, in_role, pg_backend_pid())) then
        raise exception using errcode = '42501', message = 'only pg_background_launch registers jobs';
    end if;
    if not @extschema@._close_books() then
        return 'unfit';
    end if;
    select * into full_house from @extschema@._no_room(in_role, in_launcher, in_session_limit, surely_in_session);
    if in_queues and (
        full_house.scope is not null
        or exists (select from @extschema@.job j where j.state = 'queued' and j.pid = 0 and j.role = in_role)) then
        new_state := 'queued';
        worker := 0;
    elsif full_house.scope is not null then
        raise exception using
            errcode = '53400',
            message = 'too many background workers',
            detail = format('Current limit is %s concurrent workers per %s.', full_house.max_workers, full_house.scope),
            hint = 'Wait for existing workers to complete (detach does not end them), increase pg_background.max_workers or what '
                   'pg_background_limits allows, or set pg_background.when_full to queue.';
    else
        perform @extschema@._open_books(in_lock_key);
        -- The record may be lost in a crash together with everything the job did; the job's own commit brings it to disk.
        -- A job that waits in the queue has only its record.
        perform set_config('synchronous_commit', 'off', true);
    end if;
    insert into @extschema@.job (
        cookie, lock_key, pid, launcher_pid, login, role, label, sql, statements, kinds, expected_tag, params,
        queue_size, mode, keeps_rows, detached, session_limit, timeout_ms, setting_names, setting_values,
        token, state, launched_at)
    values (
        in_cookie, in_lock_key, worker, in_launcher, to_regrole(quote_ident(session_user))::oid,
        in_role, in_label, in_sql, in_statements, in_kinds, in_tag, in_params,
        in_queue_size, in_mode, in_keeps_rows, in_detached, in_session_limit, in_timeout_ms, in_names, in_values,
        gen_random_uuid(), new_state, clock_timestamp());
    return new_state;
end
$plpgsql$;
