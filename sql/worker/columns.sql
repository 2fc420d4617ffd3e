-- Purpose: what pg_background_result_json must know of a result: the names of its columns, and how each is written as JSON.
-- Parameters: the last row; its literal, null where there was none. Returns: {names, kinds}. A kind is json (a number, or JSON
-- itself), boolean or text, with [] behind it for an array. PL/pgSQL cannot ask a record for its columns' types, but JSON shows most.
create function @extschema@._columns(r record, literal text) returns text[]
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
    if pg_catalog.octet_length(literal) operator(pg_catalog.>) 5000000 then
        r := @extschema@._without_values(r);
        some_json := true;
    end if;
    row_text := pg_catalog.row_to_json(r)::pg_catalog.text;
    if pg_catalog.strpos(row_text, unicode_escape) operator(pg_catalog.>) 0 then
        -- Some characters that json may hold cannot be read.
        row_text := pg_catalog.replace(row_text, unicode_escape, '/u');
    end if;
    select pg_catalog.array_agg(e.key) as names,
           pg_catalog.array_agg(case pg_catalog.json_typeof(e.value)
               when 'number' then 'json' when 'boolean' then 'boolean' when 'string' then
                   case when not some_json then 'text' end end) as kinds
      into found
      from pg_catalog.json_each(row_text::pg_catalog.json) e;
    if found.names is null then
        return '{}';
    end if;
    if literal is not null and pg_catalog.array_position(found.kinds, null) is not null then
        foreach place in array pg_catalog.array_positions(found.kinds, null) loop
            found.kinds[place] := @extschema@._kind(r, found.names[place], place);
        end loop;
    end if;
    return array[found.names, found.kinds];
end
$plpgsql$;

-- Purpose: a row of the same columns without its values, which are read for the names alone; the row itself where it cannot be had
-- (a domain that takes no null, JSON whose characters cannot be read).
create function @extschema@._without_values(r record) returns record
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
create function @extschema@._kind(r record, name text, place int4) returns text
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    answer json := @extschema@._answer(r, name, place, '1');
    brackets text := '';
begin
    if answer is null and json_typeof(@extschema@._answer(r, name, place, '[]')) = 'array'
        -- An array of boxes is the only one whose elements stand between semicolons.
        and (@extschema@._answer(r, name, place, '["(0,0),(1,1)"]') ->> 0) is distinct from '(1,1),(0,0)' then
        brackets := '[]';
        answer := @extschema@._answer(r, name, place, '[1]') -> 0;
    end if;
    return case json_typeof(answer) when 'number' then 'json' when 'boolean' then 'boolean' else 'text' end || brackets;
end
$plpgsql$;

-- Purpose: what becomes of a JSON value in a row's column; null where the column's type does not take it.
create function @extschema@._answer(r record, name text, place int4, sample json) returns json
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
