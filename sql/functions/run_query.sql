-- No pinned search path: the types of the column list, and their values, are read under the caller's own.
create function @extschema@.pg_background_run_query(
    sql text, queue_size int4 default 0, timeout_ms int4 default 0, label text default null, col_def text default null)
returns setof record
language plpgsql volatile parallel unsafe
as $plpgsql$
-- Purpose: launch, wait, rows and detach in one call.
declare
    opened record;
    types pg_catalog.text[] := '{}';
    detail pg_catalog.text;
    rows_read pg_catalog.int8;
begin
    select * into opened from pgbackground.open_query(sql, queue_size, timeout_ms, label);
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
                exit;
        end;
    end loop;
    if opened.tag is not null then
        return query select opened.tag;
    else
        return query execute pgbackground.typed_rows(opened.source, types, opened.pid, opened.cookie);
        get diagnostics rows_read = row_count;
        perform pgbackground.all_read(rows_read, opened.row_count);
    end if;
    perform @extschema@.pg_background_detach(opened.pid, opened.cookie);
end
$plpgsql$;
comment on function @extschema@.pg_background_run_query(text, int4, int4, text, text) is
    'Launch, wait, rows and detach in one call; the caller gives a column list. After timeout_ms (0 or less: never) the job is canceled and 57014 is raised. col_def is accepted and not needed. Raises the job''s own error, and as pg_background_launch, pg_background_wait and pg_background_result. As pg_background 2.0.';
