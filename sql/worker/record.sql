-- Purpose: the context of an error without the product's own functions, which nobody but us can do anything about.
create function @extschema@._own_context(context text) returns text
language plpgsql volatile strict parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    line text;
    kept text[] := '{}';
begin
    foreach line in array string_to_array(context, chr(10)) loop
        exit when line ~ '(_keep_rows|_perform|_execute|_with_params|_apply_settings|_run_one)[(]';
        kept := kept || line;
    end loop;
    return array_to_string(kept || format('background worker, pid %s', pg_backend_pid()), chr(10));
end
$plpgsql$;

-- Purpose: record the job's outcome in the job's own transaction, so that both are committed or neither.
-- Parameters: the token of _claim; the error's fields (null after success); what the statements gave.
-- A cancel that came before this record wins: success is turned into 57014, which takes the effects with it.
-- Returns: whether the job was sent a cancel. Raises 42501, 57014. Tables: job (update), job_rows (delete, when the job was detached meanwhile).
create function @extschema@._record(
    in_cookie int8, in_token uuid, in_rows int8, in_columns text[], in_progress text,
    in_sqlstate text, in_message text, in_detail text, in_hint text, in_context text,
    in_schema text, in_table text, in_column text, in_constraint text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j record;
begin
    update @extschema@.job
       set state = case when in_sqlstate is null then 'stopped'
                        when in_sqlstate = '57014' and cancel_requested and not timed_out then 'canceled'
                        else 'error' end,
           finished_at = clock_timestamp(),
           row_count = case when in_sqlstate is null then in_rows else 0 end,
           command_tag = case when in_sqlstate is null then expected_tag else '' end,
           columns = case when in_sqlstate is null and not detached then in_columns end,
           progress_pct = case when starts_with(in_progress, 'pg_background: ') then @extschema@._progress_pct(in_progress) end,
           progress_msg = case when starts_with(in_progress, 'pg_background: ') then @extschema@._progress_msg(in_progress) end,
           sqlstate = in_sqlstate,
           message = case when in_sqlstate = '57014' and timed_out then 'canceling statement due to worker timeout' else in_message end,
           detail = nullif(in_detail, ''), hint = nullif(in_hint, ''), context = @extschema@._own_context(in_context),
           schema_name = nullif(in_schema, ''), table_name = nullif(in_table, ''),
           column_name = nullif(in_column, ''), constraint_name = nullif(in_constraint, '')
     where cookie = in_cookie and token = in_token and pid = pg_backend_pid() and state = 'running'
    returning cancel_requested, detached into j;
    if not found then
        raise exception using errcode = '42501', message = 'only the worker records a job''s outcome';
    end if;
    if in_sqlstate is null and j.cancel_requested then
        raise exception using errcode = '57014', message = 'canceling statement due to user request';
    end if;
    if j.detached and in_columns is not null then
        delete from @extschema@.job_rows where cookie = in_cookie;
    end if;
    return j.cancel_requested;
end
$plpgsql$;

-- Purpose: is this the worker that has just ended the job? Its token proves it.
create function @extschema@._has_ended(in_cookie int8, in_token uuid) returns bool
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return exists (
        select from @extschema@.job j
         where j.cookie = in_cookie and j.token = in_token and j.pid = pg_backend_pid() and j.state <> 'running');
end
$plpgsql$;

-- Purpose: leave the success of a job whose transaction has an old snapshot, in that transaction: detach and cancel change the job's
-- row at any time, and such a transaction may not change it after them. Raises 42501. Tables: job_commit (insert).
create function @extschema@._note_success(in_cookie int8, in_token uuid, in_rows int8, in_columns text[], in_progress text) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not exists (
        select from @extschema@.job j
         where j.cookie = in_cookie and j.token = in_token and j.pid = pg_backend_pid() and j.state = 'running') then
        raise exception using errcode = '42501', message = 'only the worker records a job''s outcome';
    end if;
    insert into @extschema@.job_commit (cookie, row_count, columns, progress) values (in_cookie, in_rows, in_columns, in_progress);
end
$plpgsql$;

-- Purpose: write a success that _note_success has left, and that is committed, into the registry.
-- Returns: whether the job was sent a cancel, which came too late. Raises 42501. Tables: job (update), job_commit (delete).
create function @extschema@._settle(in_cookie int8, in_token uuid) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j record;
begin
    select t.cancel_requested into j
      from @extschema@.job t join @extschema@.job_commit c using (cookie)
     where t.cookie = in_cookie and t.token = in_token and t.pid = pg_backend_pid() and t.state = 'running'
       for update of t;
    if not found then
        raise exception using errcode = '42501', message = 'only the worker records a job''s outcome';
    end if;
    perform @extschema@._bury(in_cookie);
    return j.cancel_requested;
end
$plpgsql$;

-- Purpose: commit, and tell the error where that fails: PL/pgSQL has no handler around a commit. For serializable transactions,
-- which fail there when they have to.
create procedure @extschema@._commit(inout state text, inout message text, inout detail text, inout hint text)
language plpython3u
as $python$
try:
    plpy.commit()
except plpy.SPIError as error:
    said = getattr(error, "spidata", None) or (None, None, None)
    return error.sqlstate, str(error), said[1], said[2]
return None, None, None, None
$python$;
