-- Purpose: put a job into the registry, on the worker's side of a link: running, with its lock held from here on, or queued.
-- Whose job it is, this session itself says: session_user is its login, the role setting its role.
-- Parameters: the job's fields; session_limit, the launcher's pg_background.max_workers; queues, whether the job may wait for a place, with
-- the settings it needs then; surely_in_session, see take_place.
-- Returns: state, the key of the job's lock, and its time-out in ms; state is 'unfit' when this session must be given up.
-- Raises 53400 at a limit, 55P03 when another session of the same role takes its time. Tables: job (insert).
create function pgbackground.register(
    in_cookie int8, in_launcher int4, in_label text, in_sql text, in_statements text[], in_kinds text[], in_tag text,
    in_params text[], in_queue_size int4, in_mode text, in_keeps_rows bool, in_detached bool, in_session_limit int4,
    in_timeout_ms int4, in_queues bool, in_names text[], in_values text[], surely_in_session bool,
    out state text, out lock_key int8, out timeout_ms int4)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10s'
as $plpgsql$
declare
    me record := pgbackground.top_level_identity();
    reached record;
    rule record;
begin
    perform pgbackground.only_over_a_link();
    if not pgbackground.is_fit() then
        state := 'unfit';
        return;
    end if;
    state := 'running';
    rule := pgbackground.rules(me.role);
    timeout_ms := least(nullif(in_timeout_ms, 0), rule.timeout_ms);
    if in_queues and exists (select from pgbackground.job j where j.state = 'queued' and j.run_at is null and j.role = me.role) then
        state := 'queued';
    else
        select * into reached
          from pgbackground.take_place(in_cookie, me.role, me.login, in_launcher, in_session_limit, surely_in_session, rule);
        if reached.scope is not null and in_queues then
            state := 'queued';
        elsif reached.scope is not null then
            raise exception using
                errcode = '53400',
                message = 'too many background workers',
                detail = format('Current limit is %s concurrent workers per %s.', reached.max_workers, reached.scope),
                hint = 'Wait for existing workers to complete (detach does not end them), increase pg_background.max_workers or what '
                       'pg_background_limits allows, or set pg_background.when_full to queue.';
        end if;
    end if;
    if state = 'running' then
        lock_key := pgbackground.open_job(in_cookie);
        -- The record may be lost in a crash together with everything the job did; the job's own commit brings it to disk.
        perform set_config('synchronous_commit', 'off', true);
    else
        -- A job that waits in the queue has only its record.
        perform set_config('synchronous_commit', 'local', true);
    end if;
    insert into pgbackground.job (
        cookie, state, role, role_name, login, login_name, label, sql, statements, kinds, expected_tag, params, mode, keeps_rows,
        detached, queue_size, launcher_pid, session_limit, timeout_ms, setting_names, setting_values, pid, lock_key, number)
    values (
        in_cookie, state, me.role, me.role_name, me.login, me.login_name, in_label, in_sql, in_statements, in_kinds, in_tag, in_params,
        in_mode, in_keeps_rows, in_detached, in_queue_size, in_launcher, in_session_limit, coalesce(timeout_ms, 0),
        in_names, in_values, case state when 'running' then pg_backend_pid() else 0 end, lock_key,
        pgbackground.next_number(me.role));
end
$plpgsql$;

-- Purpose: refuse a call that was not given to this session as a command of its own. The functions that take their rights from the session
-- must not be called by others' code that runs in it: a SECURITY DEFINER function, a view that is refreshed, a trigger, somebody's job.
-- What the client has sent tells, and no code can change that; a job's own code is known by the job that runs. Raises 42501.
create function pgbackground.only_over_a_link() returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    command text := current_query();
begin
    if starts_with(command, '/* ') then
        command := substr(command, strpos(command, ' */ ') + 4);
    end if;
    if not (starts_with(command, 'call pgbackground.') or starts_with(command, 'select pgbackground.'))
       or exists (select from pgbackground.job j where j.live and j.pid = pg_backend_pid() and j.state = 'running') then
        raise exception using errcode = '42501', message = 'this function is not for direct use';
    end if;
end
$plpgsql$;

-- Purpose: the same, for what only our procedures call, between their transactions: nobody can keep its transaction open.
create function pgbackground.only_in_a_call() returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pgbackground.only_over_a_link();
    if starts_with(current_query(), 'select ') then
        raise exception using errcode = '42501', message = 'this function is not for direct use';
    end if;
end
$plpgsql$;

-- Purpose: who this session is, whatever function runs in it: as whom it has logged in, and the role it has set.
create function pgbackground.top_level_identity(out login oid, out login_name name, out role oid, out role_name name)
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    login_name := session_user;
    login := to_regrole(quote_ident(login_name));
    role_name := current_setting('role');
    if role_name = 'none' then
        role_name := login_name;
        role := login;
    else
        role := to_regrole(quote_ident(role_name));
    end if;
end
$plpgsql$;

-- Purpose: this worker has a job from here on: it holds a lock with a new key, and remembers the job until the next one.
-- Returns: the key.
create function pgbackground.open_job(in_cookie int8) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    key int8;
begin
    while key is null or not pg_try_advisory_lock(key) loop
        key := hashtextextended(gen_random_uuid()::text, 0) & 9223372036854775807;
    end loop;
    perform set_config('pg_background.last_job', in_cookie::text, false);
    return key;
end
$plpgsql$;

-- Purpose: may this worker take another job? Not while a cancel of its last one may still be on its way to it. Whoever cancels commits his
-- request first, or holds an announcement, and signals then, and only while the job's lock is held: so no signal is under way that is not seen here.
create function pgbackground.is_fit() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    -- The cookie is negative when the worker has tidied up behind the job.
    return not pgbackground.signal_may_come(abs(nullif(current_setting('pg_background.last_job', true), '')::int8));
end
$plpgsql$;
