-- Purpose: the executor of a top-level job makes itself known, before it is given the statement.
-- Raises 57014 when a cancel came first. Tables: job (update, synchronously: the statement's effects must not be better known than it is).
create function @extschema@._executor_starts(in_cookie int8, in_seal text) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform @extschema@._check_seal('executor|' || in_cookie || '|' || pg_backend_pid(), in_seal);
    update @extschema@.job set executor_pid = pg_backend_pid()
     where cookie = in_cookie and state = 'running' and not cancel_requested;
    if not found then
        raise exception using errcode = '57014', message = 'canceling statement due to user request';
    end if;
    return true;
end
$plpgsql$;

-- Purpose: may this job, which was refused in a transaction block, run at top level? If it is one statement that changes no rows by
-- itself; then its mode is changed. Raises nothing. Tables: job (update).
create function @extschema@._becomes_top_level(in_cookie int8, in_token uuid) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    update @extschema@.job set mode = 'top-level'
     where cookie = in_cookie and token = in_token and kinds = array['none'] and params is null
       and not cancel_requested
       and expected_tag not in ('INSERT', 'UPDATE', 'DELETE', 'MERGE', 'DO', 'CALL', 'COPY', 'SELECT');
    return found;
end
$plpgsql$;

-- Purpose: record a top-level job's outcome, with the row of a CALL.
-- Called through the door only. Tables: job (update), job_rows (insert).
create function @extschema@._record_top_level(
    in_cookie int8, in_tag text, in_rows text[], in_progress text,
    in_sqlstate text, in_message text, in_detail text, in_hint text, in_context text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j record;
    keep bool;
begin
    select * into j from @extschema@.job where cookie = in_cookie and state = 'running' for update;
    if not found then
        return;
    end if;
    keep := in_sqlstate is null and cardinality(in_rows) > 0 and j.keeps_rows and not j.detached;
    update @extschema@.job
       set state = case when in_sqlstate is null then 'stopped'
                        when in_sqlstate = '57014' and cancel_requested and not timed_out then 'canceled'
                        else 'error' end,
           finished_at = clock_timestamp(),
           command_tag = coalesce(in_tag, ''),
           row_count = case when in_sqlstate is null then cardinality(in_rows) else 0 end,
           columns = case when keep then '{}'::text[] end,
           progress_pct = case when starts_with(in_progress, 'pg_background: ') then @extschema@._progress_pct(in_progress) end,
           progress_msg = case when starts_with(in_progress, 'pg_background: ') then @extschema@._progress_msg(in_progress) end,
           sqlstate = in_sqlstate,
           message = case when in_sqlstate = '57014' and timed_out then 'canceling statement due to worker timeout' else in_message end,
           detail = in_detail, hint = in_hint, context = in_context
     where cookie = in_cookie;
    if keep then
        insert into @extschema@.job_rows (cookie, chunk, rows) values (in_cookie, 1, in_rows);
    end if;
end
$plpgsql$;

-- Purpose: the worker's whole work for a top-level job. It commits again and again, so it pins nothing.
create procedure @extschema@._run_top_level(in_cookie int8, setting_names text[], setting_values text[])
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select @extschema@._load()')
GD["pg_background @hash@"].run_top_level(in_cookie, setting_names, setting_values)
$python$;
