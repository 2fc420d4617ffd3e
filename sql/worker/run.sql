-- Purpose: apply the launcher's settings, for the rest of the transaction or of the session.
-- One that this login may not set, or that this session can no longer take, is left out.
create function @extschema@._apply_settings(setting_names text[], setting_values text[], for_transaction bool) returns void
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    i pg_catalog.int4;
begin
    for i in 1 .. pg_catalog.cardinality(setting_names) loop
        begin
            perform pg_catalog.set_config(setting_names[i], setting_values[i], for_transaction);
        exception when others then
            null;
        end;
    end loop;
end
$plpgsql$;

-- Purpose: run the last statement of a job and keep the rows it returns, chunk by chunk.
-- Under settings that write dates, intervals or numbers in another way each row is written in the one way every session reads.
-- In a read-only transaction nothing can be stored yet: the rows come back as held.
-- Returns: how many rows; their columns (see _columns); the rows not stored. Raises 42P11 where the statement returns no rows.
create function @extschema@._keep_rows(in_cookie int8, token uuid, statement text, keep bool,
                                       out row_count int8, out columns text[], out held text[])
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    r record;
    literal pg_catalog.text;
    size pg_catalog.int4 := 0;
    chunks pg_catalog.int4 := 0;
    read_only pg_catalog.bool := pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool;
    plain pg_catalog.bool := pg_catalog.starts_with(pg_catalog.current_setting('datestyle'), 'ISO')
        and pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 operator(pg_catalog.>) 0
        and pg_catalog.current_setting('bytea_output') operator(pg_catalog.=) 'hex';
begin
    row_count := 0;
    held := '{}';
    for r in execute statement loop
        row_count := row_count operator(pg_catalog.+) 1;
        continue when not keep;
        if plain then
            literal := r::pg_catalog.text;
        else
            literal := @extschema@._plain_literal(r);
        end if;
        held := held operator(pg_catalog.||) literal;
        size := size operator(pg_catalog.+) pg_catalog.octet_length(literal) operator(pg_catalog.+) 60;
        if size operator(pg_catalog.>) 100000 and not read_only then
            chunks := chunks operator(pg_catalog.+) 1;
            perform @extschema@._store_rows(in_cookie, token, chunks, held);
            held := '{}';
            size := 0;
        end if;
    end loop;
    if keep then
        columns := @extschema@._columns(r, literal);
    end if;
    if not read_only and pg_catalog.cardinality(held) operator(pg_catalog.>) 0 then
        perform @extschema@._store_rows(in_cookie, token, chunks operator(pg_catalog.+) 1, held);
        held := '{}';
    end if;
end
$plpgsql$;

-- Purpose: a row as a literal that means the same whatever the reader's settings are.
create function @extschema@._plain_literal(r record) returns text
language plpgsql volatile parallel unsafe
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $plpgsql$
begin
    return r::pg_catalog.text;
end
$plpgsql$;

-- Purpose: prepare a statement with parameters, so that the server finds out their types, and give the statement that executes it.
-- Values reach it as literals of the server's own quoting, never as part of the text.
-- counts: it changes rows and returns none; EXECUTE would not tell how many, so it is made to return a row for each.
create function @extschema@._with_params(statement text, params text[], counts bool) returns text
language plpgsql volatile parallel unsafe
as $plpgsql$
begin
    if counts then
        statement := pg_catalog.concat(statement, E'\nreturning 1');
    end if;
    execute pg_catalog.concat('prepare "pg_background statement" as ', statement);
    return pg_catalog.concat(
        'execute "pg_background statement"',
        (select '(' operator(pg_catalog.||) pg_catalog.string_agg(pg_catalog.quote_nullable(p.value), ', ' order by p.place)
                operator(pg_catalog.||) ')'
           from pg_catalog.unnest(params) with ordinality p (value, place)));
end
$plpgsql$;

-- Purpose: run the statements of a job, one after the other, with the rights and the settings of its owner.
-- Returns: rows of the last statement, the names of its columns (null: none returned or kept), rows not stored yet.
-- Raises whatever the statements raise.
create function @extschema@._perform(j @extschema@.job,
                                     out row_count int8, out columns text[], out held text[])
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    statements pg_catalog.text[] := coalesce(j.statements, array[j.sql]);
    kinds pg_catalog.text[] := j.kinds;
    last pg_catalog.int4 := pg_catalog.cardinality(j.kinds);
    statement pg_catalog.text;
    kind pg_catalog.text;
    counts pg_catalog.bool;
    changed record;
    i pg_catalog.int4;
begin
    row_count := 0;
    if pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool then
        -- The job reads only; its record is written after this subtransaction, which takes the restriction with it.
        set transaction read only;
    end if;
    for i in 1 .. last loop
        statement := statements[i];
        kind := kinds[i];
        if j.params is not null then
            counts := kind operator(pg_catalog.=) 'none'
                and (j.expected_tag operator(pg_catalog.=) any (array['INSERT', 'UPDATE', 'DELETE'])
                     -- Before PostgreSQL 17 a MERGE returns nothing.
                     or j.expected_tag operator(pg_catalog.=) 'MERGE'
                        and pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.>=) 170000);
            statement := @extschema@._with_params(statement, j.params, counts);
            if counts then
                for changed in execute statement loop
                    row_count := row_count operator(pg_catalog.+) 1;
                end loop;
                continue;
            end if;
            kind := 'maybe';
        end if;
        if kind operator(pg_catalog.=) any (array['rows', 'maybe']) and i operator(pg_catalog.=) last then
            begin
                select * into row_count, columns, held
                  from @extschema@._keep_rows(j.cookie, j.token, statement, j.keeps_rows);
                continue;
            exception when invalid_cursor_definition then
                if kind operator(pg_catalog.<>) 'maybe' then
                    raise;
                end if;
            end;
        end if;
        continue when kind operator(pg_catalog.=) 'done';
        if kind operator(pg_catalog.=) any (array['none', 'rows', 'maybe', 'set transaction', 'top']) then
            execute statement;
            get diagnostics row_count = row_count;
        elsif kind operator(pg_catalog.=) 'into' then
            row_count := @extschema@._execute(statement);
        else
            raise exception using errcode = '0A000', message = kind;
        end if;
    end loop;
    set constraints all immediate;
end
$plpgsql$;

-- Purpose: end the transaction of a job that has an old snapshot (REPEATABLE READ, SERIALIZABLE). Such a transaction cannot change the
-- job's row after somebody else has (detach, cancel), and a serializable one may fail at its commit: so it takes a note of its
-- success with it, and the outcome is written in a transaction of its own, which has begun when this returns. The session holds the
-- job's lock until then. After an error there is nothing to commit.
-- Parameters: the job; the search path at its end; what _note_success takes; rows not stored yet; the error's fields, if there is one.
create procedure @extschema@._leave_snapshot(
    j @extschema@.job, path_at_end text, row_count int8, columns text[], held text[], progress text,
    inout state text, inout message text, inout detail text, inout hint text, inout context text)
language plpgsql
as $plpgsql$
begin
    perform pg_catalog.pg_advisory_lock(j.lock_key);
    if state is null then
        begin
            if pg_catalog.cardinality(held) operator(pg_catalog.>) 0 then
                perform @extschema@._store_rows(j.cookie, j.token, 1, held);
            end if;
            perform @extschema@._note_success(j.cookie, j.token, row_count, columns, progress);
        exception when others or query_canceled then
            get stacked diagnostics
                state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint,
                context = pg_exception_context;
        end;
    end if;
    if state is not null then
        rollback;
    else
        -- A cursor WITH HOLD runs at the commit, under the path it was declared with.
        perform pg_catalog.set_config('search_path', path_at_end, true);
        if pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.=) 'serializable' then
            call @extschema@._commit(state, message, detail, hint);
        else
            commit;
        end if;
    end if;
    perform pg_catalog.set_config('default_transaction_isolation', 'read committed', false);
    perform pg_catalog.set_config('default_transaction_read_only', 'off', false);
    commit;
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
end
$plpgsql$;

-- Purpose: one job: its statements in one subtransaction, then its outcome, one commit for both.
-- A procedure without pinned settings, because only such a one may commit; it pins the search path itself before anything else.
-- Returns: the job's token, which proves to _next_job and _retire_after that a worker asks; whether the job was sent a cancel.
create procedure @extschema@._run_one(in_cookie int8, setting_names text[], setting_values text[], out token uuid, out canceled bool)
language plpgsql
as $plpgsql$
declare
    claimed @extschema@.job;
    done record;
    columns_out pg_catalog.text[];
    role_before pg_catalog.text;
    path_at_end pg_catalog.text;
    old_snapshot pg_catalog.bool;
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
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
    if setting_names && array['default_transaction_isolation', 'default_transaction_deferrable'] then
        -- The level of a transaction is fixed by its first query: begin another one.
        perform @extschema@._apply_settings(setting_names, setting_values, false);
        perform pg_catalog.set_config('default_transaction_read_only', 'off', false);
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
        commit;
    end if;
    loop
        select * into claimed from @extschema@._claim(in_cookie);
        exit when claimed.cookie is not null;
        -- Somebody has changed the row at this very moment, in a way that this transaction's snapshot cannot show: begin another.
        commit;
    end loop;
    token := claimed.token;
    role_before := current_setting('role');
    begin
        perform set_config('application_name', concat('pg_background', ' [' || claimed.label || ']'), true);
        perform @extschema@._apply_settings(setting_names, setting_values, true);
        select * into done from @extschema@._perform(claimed);
        columns_out := done.columns;
        progress := pg_catalog.current_setting('application_name');
    exception when others or query_canceled or assert_failure then
        get stacked diagnostics
            state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint,
            context = pg_exception_context, schema_name = schema_name, table_name = table_name,
            column_name = column_name, constraint_name = constraint_name;
        select 0::pg_catalog.int8 as row_count, '{}'::pg_catalog.text[] as held into done;
        progress := @extschema@._last_progress();
    end;
    -- Whatever the job left behind, the books are kept as the role that came.
    path_at_end := pg_catalog.current_setting('search_path');
    reset session authorization;
    perform pg_catalog.set_config('role', role_before, false);
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    old_snapshot := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
    if old_snapshot then
        call @extschema@._leave_snapshot(claimed, path_at_end, done.row_count, columns_out, done.held, progress,
                                   state, message, detail, hint, context);
        done.held := '{}';
    end if;
    if state is not distinct from '25001' and @extschema@._becomes_top_level(in_cookie, claimed.token) then
        -- A statement that is refused in a transaction block has done nothing yet. The job's lock must outlive this transaction.
        perform pg_advisory_lock(claimed.lock_key);
        commit;
        call @extschema@._run_top_level(in_cookie, setting_names, setting_values);
        return;
    end if;
    if old_snapshot and state is null then
        begin
            canceled := @extschema@._settle(in_cookie, claimed.token);
        exception when query_canceled then
            -- Too late: it is committed.
            canceled := @extschema@._settle(in_cookie, claimed.token);
        end;
    else
        if cardinality(done.held) > 0 then
            perform @extschema@._store_rows(in_cookie, claimed.token, 1, done.held);
        end if;
        canceled := @extschema@._record(in_cookie, claimed.token, done.row_count, columns_out, progress, state, message, detail, hint,
                                    context, schema_name, table_name, column_name, constraint_name);
    end if;
    -- A cursor WITH HOLD runs at the commit, under the path it was declared with.
    perform pg_catalog.set_config('search_path', path_at_end, true);
    commit;
end
$plpgsql$;

-- Purpose: the worker's whole work: the job it was given, then whatever waits in the queue for a worker like this one.
-- Called over a link with the settings that the launcher had; null for a job from the queue, whose row has them.
create procedure @extschema@._run(in_cookie int8, setting_names text[], setting_values text[])
language plpgsql
as $plpgsql$
declare
    cookie pg_catalog.int8 := in_cookie;
    names pg_catalog.text[] := setting_names;
    settings pg_catalog.text[] := setting_values;
    job_role pg_catalog.text;
    token pg_catalog.uuid;
    canceled pg_catalog.bool;
    began pg_catalog.timestamptz;
    elapsed_ms pg_catalog.float8;
begin
    loop
        began := pg_catalog.clock_timestamp();
        if names is null then
            select q.setting_names, q.setting_values, q.role_name into names, settings, job_role
              from @extschema@._queued_settings(cookie) q;
            perform pg_catalog.set_config('role', job_role, false);
            commit;
        end if;
        call @extschema@._run_one(cookie, names, settings, token, canceled);
        -- First tidy up: it frees all advisory locks, and the next job has one.
        call @extschema@._rest();
        if canceled then
            -- The signal may still be on its way: this session takes no other job.
            perform pg_catalog.set_config('pg_background.unfit', 'on', false);
        end if;
        elapsed_ms := extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) began) operator(pg_catalog.*) 1000;
        if cookie operator(pg_catalog.%) 16 operator(pg_catalog.=) 0 or elapsed_ms operator(pg_catalog.>) 50 then
            -- Old jobs go: now and then, and for a time that nobody notices beside the job's own.
            perform @extschema@._retire_after(cookie, token, 2 operator(pg_catalog.+) elapsed_ms operator(pg_catalog./) 10);
            commit;
        end if;
        cookie := @extschema@._next_job(cookie, token);
        commit;
        exit when cookie is null;
        if cookie operator(pg_catalog.=) 0 then
            call @extschema@._start_queued();
            exit;
        end if;
        names := null;
    end loop;
end
$plpgsql$;

-- Purpose: make the worker's session as good as new for the next job: nothing of the last one is left in it.
create procedure @extschema@._rest()
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
end
$plpgsql$;
