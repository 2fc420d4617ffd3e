create function @extschema@.pg_background_report_progress(pct int4, msg text default null) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
-- Purpose: tell everybody how far this job is. Called by the job's own SQL.
-- application_name is not transactional, so others see it at once. It holds 63 bytes of ASCII: what does not fit is cut off.
declare
    report text;
    letter text;
begin
    -- What the worker and the executor remember of their job. Looking into the registry would make jobs that are serializable fail each other.
    if coalesce(current_setting('pg_background.last_job', true), '') !~ '^[0-9]+$' then
        raise exception using errcode = '0A000', message = 'pg_background: progress is reported by a job''s own SQL';
    end if;
    if pct is null then
        raise exception using errcode = '22004', message = 'pg_background: progress percentage cannot be null';
    end if;
    report := format('pg_background: %s%% ', least(greatest(pct, 0), 100));
    foreach letter in array string_to_array(left(coalesce(msg, ''), 63), null) loop
        continue when letter = '';
        if letter = chr(92) then
            letter := repeat(letter, 2);
        elsif letter < ' ' or letter > '~' then
            letter := concat(chr(92), '+', lpad(to_hex(ascii(letter)), 6, '0'));
        end if;
        exit when octet_length(report) + octet_length(letter) > 63;
        report := report || letter;
    end loop;
    perform set_config('application_name', report, false);
    if exists (select from pg_prepared_statements where name = 'pg_background progress') then
        deallocate "pg_background progress";
    end if;
    execute format('prepare "pg_background progress" as select %L', report);
end
$plpgsql$;
comment on function @extschema@.pg_background_report_progress(int4, text) is
    'Report how far the running job is: percent (clamped to 0-100) and a short text (63 bytes with the prefix; a character beyond ASCII takes 8). Visible at once, before the job commits. Raises 0A000 outside a job, 22004 for a null percentage. As pg_background 2.0.';
