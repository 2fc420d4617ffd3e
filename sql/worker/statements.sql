-- Purpose: prepare a statement with parameters, so that the server finds out their types, and give the statement that executes it.
-- Values reach it as literals of the server's own quoting, never as part of the text.
-- counts: it changes rows and returns none; EXECUTE would not tell how many, so it is made to return a row for each.
create function pgbackground.with_params(statement text, params text[], counts bool) returns text
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
create function pgbackground.perform(j pgbackground.job, place tid,
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
            statement := pgbackground.with_params(statement, j.params, counts);
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
                  from pgbackground.keep_rows(j.cookie, place, statement, j.keeps_rows);
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
            row_count := pgbackground.execute(statement);
        else
            raise exception using errcode = '0A000', message = kind;
        end if;
    end loop;
    set constraints all immediate;
    if exists (select from pg_catalog.pg_cursors c where c.is_holdable) then
        call pgbackground.end_held_cursors();
    end if;
end
$plpgsql$;

-- Purpose: run the cursors WITH HOLD that the job leaves behind, which would otherwise run at its commit, after its record: nobody reads
-- them, but what they do is the job's.
create procedure pgbackground.end_held_cursors()
language plpgsql
as $plpgsql$
declare
    held pg_catalog.text;
begin
    for held in select c.name from pg_catalog.pg_cursors c where c.is_holdable and c.name operator(pg_catalog.<>) '' loop
        execute pg_catalog.format('move forward all in %I', held);
        execute pg_catalog.format('close %I', held);
    end loop;
end
$plpgsql$;
