-- Purpose: the job's last progress report after its transaction has lost application_name to a rollback.
-- Prepared statements survive a rollback, so each report leaves its text in one.
create function pgbackground.last_progress() returns text
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select replace(replace(substring(p.statement from 'as select  ?E?''(.*)''$'), '''''', ''''), repeat(chr(92), 2), chr(92))
      from pg_prepared_statements p
     where p.name = 'pg_background progress'
$sql$;

-- Purpose: the percentage in a process's application_name; null when it is no report of a job.
create function pgbackground.progress_pct(report text) returns int4
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return substring(report from '^pg_background: ([0-9]{1,3})%')::int4;
end
$plpgsql$;

-- Purpose: the text in a process's application_name, which holds ASCII only: other characters are written as unistr reads them.
create function pgbackground.progress_msg(report text) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    msg text := substring(report from '^pg_background: [0-9]{1,3}% ?(.*)$');
begin
    return case when strpos(msg, chr(92)) > 0 then unistr(msg) else msg end;
exception when others then
    return msg;
end
$plpgsql$;
