-- Purpose: write the end of a job; no other function writes a terminal state. Or put it back, where another attempt is left.
-- The caller knows that the job may end: it is its worker, or holds the job's row and knows that no worker has it.
-- Parameters: the job's row, and where it lies: a serializable job's transaction reads no index of ours, or jobs that have nothing to do with
-- each other would fail each other's commits; the error's fields, all null after success; what the statements gave; the last progress report;
-- in_turn, where the caller sees to the job's children himself.
-- Returns: whether a cancel had been asked for. Raises 42501 when the job is not live. Tables: job (update), job_rows (delete).
create function pgbackground.end_job(
    j pgbackground.job, in_row tid, in_sqlstate text, in_message text, in_detail text default null, in_hint text default null,
    in_context text default null, in_schema text default null, in_table text default null, in_column text default null,
    in_constraint text default null, in_rows int8 default 0, in_columns text[] default null, in_progress text default null,
    in_turn bool default false)
returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    asked_first text;
    let_go bool := j.detached;
    told bool := starts_with(in_progress, 'pg_background: ');
    out_of_time bool := false;
    serializable bool := current_setting('transaction_isolation') = 'serializable';
    old_snapshot bool := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
begin
    if not serializable and exists (select from pgbackground.request r where r.cookie = j.cookie) then
        select (array_agg(r.kind order by r.requested_at) filter (where r.kind <> 'detach'))[1], j.detached or bool_or(r.kind = 'detach')
          into asked_first, let_go
          from pgbackground.request r where r.cookie = j.cookie;
    end if;
    if in_sqlstate = '57014' then
        if asked_first is null and j.pid = pg_backend_pid() and pgbackground.is_announced_rightly(j) then
            -- The request of whoever had no connection for it is not committed yet.
            asked_first := 'cancel';
        end if;
        out_of_time := coalesce(asked_first = 'expire', pgbackground.time_is_over(j));
    end if;
    if in_sqlstate is not null and j.attempts > 1 and pgbackground.may_retry(j, in_sqlstate, asked_first is not null) then
        perform pgbackground.put_back(j, in_sqlstate, in_message, in_detail, in_hint);
        return false;
    end if;
    j.state := pgbackground.end_state(in_sqlstate, asked_first is not null, out_of_time);
    update pgbackground.job b
       set state = j.state,
           finished_at = clock_timestamp(),
           cancel_requested = asked_first is not null,
           timed_out = out_of_time,
           detached = let_go,
           row_count = case when in_sqlstate is null then in_rows else 0 end,
           command_tag = case when in_sqlstate is null then j.expected_tag else '' end,
           columns = case when in_sqlstate is null and j.keeps_rows and not let_go then in_columns end,
           progress_pct = case when told then pgbackground.progress_pct(in_progress) end,
           progress_msg = case when told then pgbackground.progress_msg(in_progress) end,
           sqlstate = in_sqlstate,
           message = case when out_of_time then 'canceling statement due to worker timeout' else in_message end,
           detail = nullif(in_detail, ''), hint = nullif(in_hint, ''), context = in_context,
           schema_name = nullif(in_schema, ''), table_name = nullif(in_table, ''),
           column_name = nullif(in_column, ''), constraint_name = nullif(in_constraint, '')
     where b.ctid = in_row and b.live;
    if not found then
        raise exception using errcode = '42501', message = 'only the worker records a job''s outcome';
    end if;
    if let_go and in_columns is not null then
        delete from pgbackground.job_rows r where r.cookie = j.cookie;
    end if;
    if j.notify is not null then
        perform pg_notify(j.notify, json_build_object(
            'cookie', j.cookie, 'label', j.label, 'state', j.state, 'sqlstate', in_sqlstate)::text);
    end if;
    -- A transaction that does not see what others have done meanwhile leaves this to the next one.
    if not in_turn and not old_snapshot and exists (select from pgbackground.dependency) then
        perform pgbackground.release_children(j.cookie);
    end if;
    return asked_first is not null;
end
$plpgsql$;

-- Purpose: the end of a job that no worker has: the caller has locked its row. Parameters as end_job's.
create function pgbackground.end_without_worker(
    in_cookie int8, in_sqlstate text, in_message text, in_detail text default null, in_hint text default null, in_turn bool default false)
returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    place tid;
    j pgbackground.job;
begin
    select b.ctid into place from pgbackground.job b where b.cookie = in_cookie;
    select * into j from pgbackground.job b where b.ctid = place;
    perform pgbackground.end_job(j, place, in_sqlstate, in_message, in_detail, in_hint, in_turn => in_turn);
end
$plpgsql$;

-- Purpose: who has asked first for the job's end: cancel, somebody; expire, its time-out. Null: nobody.
create function pgbackground.asked_first(in_cookie int8) returns text
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return (select r.kind from pgbackground.request r
             where r.cookie = in_cookie and r.kind <> 'detach' order by r.requested_at limit 1);
end
$plpgsql$;

-- Purpose: has somebody asked for the job's end?
create function pgbackground.stop_is_requested(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return exists (select from pgbackground.request r where r.cookie = in_cookie and r.kind <> 'detach');
end
$plpgsql$;

-- Purpose: has the job run for longer than it may?
create function pgbackground.time_is_over(j pgbackground.job) returns bool
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return j.timeout_ms > 0
       and clock_timestamp() >= coalesce(j.started_at, j.launched_at) + j.timeout_ms * interval '1 millisecond';
end
$plpgsql$;

-- Purpose: the worker records its job's outcome: after success in the job's own transaction, so that both are committed or neither.
-- A cancel that came before wins, and so does the time-out: success becomes 57014, which takes the effects with it. A job that calls this itself finds out at its
-- end: its true record fails then, and the whole transaction with it.
-- Parameters: in_row, where claim() has found the job's row; only the worker changes it.
-- Returns: whether a cancel had been asked for. Raises 42501, 57014.
create function pgbackground.finish(
    in_cookie int8, in_row tid, in_rows int8, in_columns text[], in_progress text,
    in_sqlstate text, in_message text, in_detail text, in_hint text, in_context text,
    in_schema text, in_table text, in_column text, in_constraint text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j pgbackground.job;
    canceled bool;
begin
    select * into j from pgbackground.job b
     where b.ctid = in_row and b.cookie = in_cookie and b.state = 'running' and b.pid = pg_backend_pid();
    if not found then
        raise exception using errcode = '42501', message = 'only the worker records a job''s outcome';
    end if;
    canceled := pgbackground.end_job(
        j, in_row, in_sqlstate, in_message, in_detail, in_hint, pgbackground.own_context(in_context),
        in_schema, in_table, in_column, in_constraint, in_rows, in_columns, in_progress);
    if in_sqlstate is null and j.mode = 'inline' and (canceled or j.timeout_ms > 0 and pgbackground.time_is_over(j)) then
        raise exception using errcode = '57014', message = 'canceling statement due to user request';
    end if;
    return canceled;
end
$plpgsql$;

-- Purpose: the context of an error without the product's own functions, which nobody but us can do anything about.
create function pgbackground.own_context(context text) returns text
language plpgsql volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    line text;
    kept text[] := '{}';
begin
    foreach line in array string_to_array(context, chr(10)) loop
        exit when line ~ ' pgbackground[.]';
        kept := kept || line;
    end loop;
    return array_to_string(kept || format('background worker, pid %s', pg_backend_pid()), chr(10));
end
$plpgsql$;

-- Purpose: keep a chunk of the job's rows, in the job's own transaction. Raises 42501 for anybody but the worker itself.
-- Tables: job_rows (insert).
create function pgbackground.store_rows(in_cookie int8, in_row tid, in_chunk int4, in_rows text[]) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not exists (
        select from pgbackground.job j
         where j.ctid = in_row and j.cookie = in_cookie and j.pid = pg_backend_pid() and j.state = 'running') then
        raise exception using errcode = '42501', message = 'only the worker keeps a job''s rows';
    end if;
    insert into pgbackground.job_rows (cookie, chunk, rows) values (in_cookie, in_chunk, in_rows);
end
$plpgsql$;
