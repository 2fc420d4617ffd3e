-- Purpose: run the last statement of a job and keep the rows it returns, chunk by chunk.
-- Under settings that write dates, intervals or numbers in another way each row is written in the one way every session reads.
-- In a read-only transaction nothing can be stored yet: the rows come back as held.
-- Returns: how many rows; their columns (see _columns); the rows not stored. Raises 42P11 where the statement returns no rows.
create function pgbackground.keep_rows(in_cookie int8, place tid, statement text, keep bool,
                                       out row_count int8, out columns text[], out held text[])
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    r record;
    literal pg_catalog.text;
    size pg_catalog.int4 := 0;
    is_large pg_catalog.bool := false;
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
            literal := pgbackground.plain_literal(r);
        end if;
        held := held operator(pg_catalog.||) literal;
        size := size operator(pg_catalog.+) pg_catalog.octet_length(literal) operator(pg_catalog.+) 60;
        is_large := pg_catalog.octet_length(literal) operator(pg_catalog.>) 5000000;
        if is_large then
            -- One copy less from here on.
            literal := '""';
        end if;
        if size operator(pg_catalog.>) 100000 and not read_only then
            chunks := chunks operator(pg_catalog.+) 1;
            perform pgbackground.store_rows(in_cookie, place, chunks, held);
            held := '{}';
            size := 0;
        end if;
    end loop;
    if not read_only and pg_catalog.cardinality(held) operator(pg_catalog.>) 0 then
        perform pgbackground.store_rows(in_cookie, place, chunks operator(pg_catalog.+) 1, held);
        held := '{}';
    end if;
    if keep then
        if is_large then
            r := pgbackground.without_values(r);
        end if;
        columns := pgbackground.columns(r, literal);
    end if;
end
$plpgsql$;

-- Purpose: a row as a literal that means the same whatever the reader's settings are.
create function pgbackground.plain_literal(r record) returns text
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

-- Purpose: what pg_background_result_json must know of a result: the names of its columns, and how each is written as JSON.
-- Parameters: the last row; its literal, null where there was none, '""' where it is too long to be looked at. Returns: {names, kinds}. A kind is json (a number, or JSON
-- itself), boolean or text, with [] behind it for an array. PL/pgSQL cannot ask a record for its columns' types, but JSON shows most.
create function pgbackground.columns(r record, literal text) returns text[]
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    found record;
    place pg_catalog.int4;
    row_text pg_catalog.text;
    -- Written so that it means the same without standard_conforming_strings.
    unicode_escape pg_catalog.text := pg_catalog.concat(pg_catalog.chr(92), 'u');
    -- JSON that is a string cannot be told from text, but is quoted where a row is written.
    some_json pg_catalog.bool := pg_catalog.strpos(literal, '""') operator(pg_catalog.>) 0;
begin
    row_text := pg_catalog.row_to_json(r)::pg_catalog.text;
    if pg_catalog.strpos(row_text, unicode_escape) operator(pg_catalog.>) 0 then
        -- Some characters that json may hold cannot be read.
        row_text := pg_catalog.replace(row_text, unicode_escape, '/u');
    end if;
    select pg_catalog.array_agg(e.key) as names,
           pg_catalog.array_agg(case
               when k.kind operator(pg_catalog.=) 'number' then 'json'
               when k.kind operator(pg_catalog.=) 'boolean' then 'boolean'
               when k.kind operator(pg_catalog.=) 'string' and not some_json then 'text' end) as kinds
      into found
      from pg_catalog.json_each(row_text::pg_catalog.json) e, pg_catalog.json_typeof(e.value) k (kind);
    if found.names is null then
        return '{}';
    end if;
    if literal is not null and pg_catalog.array_position(found.kinds, null) is not null then
        foreach place in array pg_catalog.array_positions(found.kinds, null) loop
            found.kinds[place] := pgbackground.kind(r, found.names[place], place);
        end loop;
    end if;
    return array[found.names, found.kinds];
end
$plpgsql$;

-- Purpose: a row of the same columns without its values, which are read for the names alone; the row itself where it cannot be had
-- (a domain that takes no null, JSON whose characters cannot be read).
create function pgbackground.without_values(r record) returns record
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return json_populate_record(r, (select json_object_agg(k.name, null) from json_object_keys(row_to_json(r)) k (name)));
exception when others then
    return r;
end
$plpgsql$;

-- Purpose: the kind of a column whose value tells nothing (null, an empty array): what does it make of a number?
create function pgbackground.kind(r record, name text, place int4) returns text
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    answer json := pgbackground.answer(r, name, place, '1');
    brackets text := '';
begin
    if answer is null and json_typeof(pgbackground.answer(r, name, place, '[]')) = 'array'
        -- An array of boxes is the only one whose elements stand between semicolons.
        and (pgbackground.answer(r, name, place, '["(0,0),(1,1)"]') ->> 0) is distinct from '(1,1),(0,0)' then
        brackets := '[]';
        answer := pgbackground.answer(r, name, place, '[1]') -> 0;
    end if;
    return case json_typeof(answer) when 'number' then 'json' when 'boolean' then 'boolean' else 'text' end || brackets;
end
$plpgsql$;

-- Purpose: what becomes of a JSON value in a row's column; null where the column's type does not take it.
create function pgbackground.answer(r record, name text, place int4, sample json) returns json
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return (select e.value
              from json_each(replace(row_to_json(json_populate_record(r, json_build_object(name, sample)))::text, chr(92) || 'u', '/u')::json)
                   with ordinality e (key, value, n)
             where e.n = place);
exception when others then
    return null;
end
$plpgsql$;
