-- The worker's whole work. Procedures without pinned settings, because only such may commit: they pin the search path themselves.

-- Purpose: the worker begins with its job. Returns: the job's row, and where it lies; a cancel that came before is in its cancel_requested.
-- Raises 42501 for anybody but the worker.
create function pgbackground.claim(in_cookie int8, out j pgbackground.job, out place tid)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    select b.ctid into place from pgbackground.job b where b.cookie = in_cookie and b.pid = pg_backend_pid() and b.state = 'running';
    if not found then
        raise exception using errcode = '42501', message = 'this session is not the worker of that job';
    end if;
    select * into j from pgbackground.job b where b.ctid = place;
    j.cancel_requested := pgbackground.is_canceled(j);
end
$plpgsql$;

-- Purpose: one job: its statements in one subtransaction, then its outcome, one commit for both. After an error there is nothing to commit:
-- the outcome is written in a transaction of its own, and the session holds the job's lock until then.
-- Parameters: the job; the settings that the launcher had. Returns: whether it must be run at top level instead.
create procedure pgbackground.run_one(j pgbackground.job, place tid, setting_names text[], setting_values text[], out at_top_level bool)
language plpgsql
as $plpgsql$
declare
    done record;
    role_before pg_catalog.text := pg_catalog.current_setting('role');
    progress pg_catalog.text;
    state pg_catalog.text;
    message pg_catalog.text;
    detail pg_catalog.text;
    hint pg_catalog.text;
    context pg_catalog.text;
    schema_name pg_catalog.text;
    table_name pg_catalog.text;
    column_name pg_catalog.text;
    constraint_name pg_catalog.text;
begin
    at_top_level := false;
    -- From here on the job's own transaction holds its lock: the end of the transaction, and nothing else, frees it.
    perform pg_catalog.pg_advisory_xact_lock(j.lock_key);
    perform pg_catalog.pg_advisory_unlock(j.lock_key);
    begin
        if j.cancel_requested then
            raise exception using errcode = '57014', message = 'canceling statement due to user request';
        end if;
        perform pg_catalog.set_config('application_name', pg_catalog.concat('pg_background', ' [' operator(pg_catalog.||) j.label operator(pg_catalog.||) ']'), true);
        -- The clock of this CALL is no business of the job's. Setting it does not stop it.
        perform pg_catalog.set_config('statement_timeout', '0', true);
        perform pgbackground.apply_settings(setting_names, setting_values, true);
        select * into done from pgbackground.perform(j, place);
        progress := pg_catalog.current_setting('application_name');
    exception when others or query_canceled or assert_failure then
        get stacked diagnostics
            state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint,
            context = pg_exception_context, schema_name = schema_name, table_name = table_name,
            column_name = column_name, constraint_name = constraint_name;
    end;
    -- Whatever the job left behind, the record is written as the role that came.
    reset session authorization;
    perform pg_catalog.set_config('role', role_before, false);
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if state is null then
        begin
            if pg_catalog.cardinality(done.held) operator(pg_catalog.>) 0 then
                perform pgbackground.store_rows(j.cookie, place, 1, done.held);
            end if;
            perform pgbackground.finish(j.cookie, place, done.row_count, done.columns, progress, null, null, null, null, null, null, null, null, null);
        exception when others or query_canceled then
            -- No room for the record, or a cancel at the last moment: that is the job's error, and undoes it.
            get stacked diagnostics
                state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint,
                context = pg_exception_context;
        end;
    end if;
    if state is null then
        if pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.<>) 'serializable' then
            commit;
            return;
        end if;
        -- A serializable transaction may fail at its commit.
        perform pg_catalog.pg_advisory_lock(j.lock_key);
        call pgbackground.commit(state, message, detail, hint);
    else
        progress := pgbackground.last_progress();
        perform pg_catalog.pg_advisory_lock(j.lock_key);
        rollback;
    end if;
    call pgbackground.new_transaction();
    if state is not null then
        at_top_level := state operator(pg_catalog.=) '25001' and pgbackground.becomes_top_level(j.cookie);
        if not at_top_level then
            perform pgbackground.finish(j.cookie, place, 0, null, progress, state, message, detail, hint, context,
                                        schema_name, table_name, column_name, constraint_name);
        end if;
        commit;
    end if;
    if not at_top_level then
        perform pg_catalog.pg_advisory_unlock(j.lock_key);
    end if;
end
$plpgsql$;

-- Purpose: begin a transaction with the worker's own characteristics, after one with the job's.
create procedure pgbackground.new_transaction()
language plpgsql
as $plpgsql$
begin
    perform pg_catalog.set_config('default_transaction_isolation', 'read committed', false);
    perform pg_catalog.set_config('default_transaction_read_only', 'off', false);
    perform pg_catalog.set_config('default_transaction_deferrable', 'off', false);
    commit;
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
    perform pg_catalog.set_config('synchronous_commit', 'local', true);
end
$plpgsql$;

-- Purpose: commit, and tell the error where that fails: PL/pgSQL has no handler around a commit.
create procedure pgbackground.commit(inout state text, inout message text, inout detail text, inout hint text)
language plpython3u
as $python$
try:
    plpy.commit()
except plpy.SPIError as error:
    said = getattr(error, "spidata", None) or (None, None, None)
    return error.sqlstate, str(error), said[1], said[2]
return None, None, None, None
$python$;

-- Purpose: the worker's command: the job it was given, then whatever waits in the queue for a worker like this one.
-- Parameters: the job, null for none; the settings that the launcher had, null for a job from the queue, whose row has them; has_clock,
-- whether this CALL has a time-out, under which nobody else's job may run.
create procedure pgbackground.run(in_cookie int8, names text[], settings text[], has_clock bool)
language plpgsql
as $plpgsql$
declare
    claimed record;
    j pgbackground.job;
    at_top_level pg_catalog.bool;
    began pg_catalog.timestamptz;
    elapsed_ms pg_catalog.float8;
    next_job record;
    missed pg_catalog.int4 := 0;
begin
    loop
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
        if in_cookie is not null and missed operator(pg_catalog.=) 0 then
            began := pg_catalog.clock_timestamp();
            if names is null then
                select q.setting_names, q.setting_values into names, settings from pgbackground.begin_queued(in_cookie) q;
                commit;
            end if;
            claimed := pgbackground.claim(in_cookie);
            j := claimed.j;
            at_top_level := j.mode operator(pg_catalog.=) 'top-level';
            if not at_top_level then
                if names && array['default_transaction_isolation', 'default_transaction_deferrable'] then
                    -- The level of a transaction is fixed by its first query: begin another one.
                    perform pgbackground.apply_settings(names, settings, false);
                    perform pg_catalog.set_config('default_transaction_read_only', 'off', false);
                    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
                end if;
                commit;
                call pgbackground.run_one(j, claimed.place, names, settings, at_top_level);
            end if;
            if at_top_level then
                call pgbackground.run_top_level(in_cookie, names, settings);
                -- The clock of this CALL, too, is none of the next job's.
                call pgbackground.tidy_up(in_cookie);
                exit;
            end if;
            -- First tidy up: it frees all advisory locks, and the next job has one.
            call pgbackground.tidy_up(in_cookie);
            elapsed_ms := extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) began) operator(pg_catalog.*) 1000;
            if in_cookie operator(pg_catalog.%) 16 operator(pg_catalog.=) 0 or elapsed_ms operator(pg_catalog.>) 50 then
                -- Old jobs go: now and then, and for a time that nobody notices beside the job's own.
                perform pgbackground.retire_after(in_cookie, 2 operator(pg_catalog.+) elapsed_ms operator(pg_catalog./) 10);
                commit;
            end if;
        end if;
        next_job := pgbackground.take_next(in_cookie, has_clock);
        commit;
        if next_job.cookie operator(pg_catalog.=) 0 then
            call pgbackground.start_queued();
        end if;
        exit when next_job.cookie is null or next_job.cookie operator(pg_catalog.=) 0;
        names := null;
        settings := null;
        if next_job.cookie operator(pg_catalog.>) 0 then
            in_cookie := next_job.cookie;
            missed := 0;
            perform pg_catalog.set_config('role', next_job.role_name, false);
            commit;
        else
            -- Who is at work there goes on with the queue as this one would.
            missed := missed operator(pg_catalog.+) 1;
            exit when missed operator(pg_catalog.=) 100;
            perform pg_catalog.pg_sleep(0.002);
            commit;
        end if;
    end loop;
end
$plpgsql$;

-- Purpose: make the worker's session as good as new for the next job: nothing of the last one is left in it but its cookie, negative now.
create procedure pgbackground.tidy_up(last_cookie int8)
language plpgsql
as $plpgsql$
begin
    reset session authorization;
    reset role;
    deallocate all;
    execute 'close all';
    unlisten *;
    perform pg_catalog.pg_advisory_unlock_all();
    discard temp;
    discard sequences;
    reset all;
    perform pg_catalog.set_config('pg_background.last_job', (- last_cookie)::pg_catalog.text, false);
end
$plpgsql$;

-- Purpose: start queued jobs over links, from a worker that has just ended a job.
create procedure pgbackground.start_queued()
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
GD["pg_background @hash@"].start_queued()
$python$;
