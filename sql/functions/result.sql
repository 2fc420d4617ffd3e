-- No pinned search path: the types of the column list, and their values, are read under the caller's own.
create function @extschema@.pg_background_result(pid int4, cookie int8) returns setof record
language plpgsql volatile strict parallel unsafe
as $plpgsql$
-- Purpose: wait for the job and return its rows in the types of the caller's column list, or its command tag.
declare
    opened record;
    types pg_catalog.text[] := '{}';
    detail pg_catalog.text;
    rows_read pg_catalog.int8;
begin
    select * into opened from pgbackground.open_result(pid, cookie);
    if opened.tag is not null then
        types := array['pg_catalog.text'];
    elsif opened.source is null then
        return;
    end if;
    loop
        begin
            perform pgbackground.in_english();
            return query execute pgbackground.probe(types, opened.width);
            raise sqlstate 'PGBGL';
        exception
            when datatype_mismatch then
                get stacked diagnostics detail = pg_exception_detail;
                types := pgbackground.learned(types, detail, opened.width);
            when sqlstate 'PGBGL' then
                -- It fits. Raised to leave nothing of the probe behind.
                exit;
        end;
    end loop;
    if opened.tag is not null then
        return query select opened.tag;
        return;
    end if;
    return query execute pgbackground.typed_rows(opened.source, types, pid, cookie);
    get diagnostics rows_read = row_count;
    perform pgbackground.all_read(rows_read, opened.row_count);
end
$plpgsql$;
comment on function @extschema@.pg_background_result(int4, int8) is
    'Wait for the job and return the rows of its last statement, converted to the caller''s column list by position; a job without rows returns one text column, its command tag. Can be called again until detach or retention. Raises the job''s own error with all its fields, 0A000 (submitted job), 42804 (the column list does not match), 42704, 55000 (wrong cookie; rows dropped), 42501, 40P01 (the job waits for this session), and what the conversion of a value raises.';
