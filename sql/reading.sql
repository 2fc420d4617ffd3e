-- Reading rows back. They are kept as composite literals; the reader's column list names the types. A function that returns
-- setof record is not told that list: these functions find it out from what the server says of a query that does not fit.

-- Rows of so many columns, each as text: what literals are taken apart with.
do $sql$
declare
    width int4;
begin
    for width in 1 .. 32 loop
        execute format('create type pgbackground.row_%s as (%s)', width,
                       (select string_agg(format('c%s text', n), ', ') from generate_series(1, width) n));
    end loop;
end
$sql$;

-- Purpose: have the server's messages in English for the rest of the transaction or subtransaction, because one of them is read.
create function pgbackground.in_english() returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if current_setting('lc_messages') not in ('C', 'POSIX') then
        perform set_config('lc_messages', 'C', true);
    end if;
end
$plpgsql$;

-- Purpose: a query without rows that has the types known so far, and behind them one that nobody asks for.
create function pgbackground.probe(types text[], width int4) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return 'select ' || array_to_string(
        array(select 'null::' || coalesce(types[n], 'pgbackground.row_1') from generate_series(1, width) n), ', ') || ' where false';
end
$plpgsql$;

-- Purpose: the types known so far and the one that the server has just named. Raises 42804 when the column list cannot be served.
create function pgbackground.learned(types text[], detail text, width int4) returns text[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    next_type text := substring(detail from 'expected type (.*) in column ');
begin
    if next_type is null or cardinality(types) >= width then
        raise exception using
            errcode = '42804',
            message = 'pg_background: the result does not match the column list',
            detail = coalesce(
                format('The result has %s columns, the column list %s.', width, substring(detail from 'column count [(]([0-9]+)[)]')),
                detail);
    end if;
    return types || next_type;
end
$plpgsql$;

-- Purpose: the query that gives a job's rows in the types of the reader's column list.
-- Parameters: source, a FROM clause with l.literal; pid and cookie of the job.
-- Wide rows, and types with a length, which a cast would cut to fit, are converted by the types' own input functions.
create function pgbackground.typed_rows(source text, types text[], pid int4, cookie int8) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    width int4 := cardinality(types);
begin
    if width <= 32 and not exists (select from unnest(types) t where t ~ '^(character|bit)' and t ~ '[(]') then
        return format(
            'select %s from (select l.literal::pgbackground.row_%s as r from %s offset 0) s',
            (select string_agg(format('(s.r).c%s::%s', t.n, t.type), ', ' order by t.n) from unnest(types) with ordinality t (type, n)),
            width, source);
    end if;
    return format(
        'select * from pgbackground.records(%s, %s) as r (%s)', pid, cookie,
        (select string_agg(format('c%s %s', t.n, t.type), ', ' order by t.n) from unnest(types) with ordinality t (type, n)));
end
$plpgsql$;

-- Purpose: wait for a job, check who asks, tell its messages, raise its error; and say what there is to be read.
-- Returns: tag, the full command tag of a job without rows; else width, row_count and source (null: nothing at all).
create function pgbackground.open_result(pid int4, cookie int8, out tag text, out width int4, out row_count int8, out source text)
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].open_result(pid, cookie)
$python$;

-- Purpose: launch a query, wait for it within timeout_ms, and say as _open_result what there is to be read. cookie is null for a null sql.
create function pgbackground.open_query(
    sql text, queue_size int4, timeout_ms int4, label text,
    out pid int4, out cookie int8, out tag text, out width int4, out row_count int8, out source text)
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].open_query(sql, queue_size, timeout_ms, label)
$python$;

-- Purpose: the job's rows as literals; for a caller with a column list, converted by the input functions of its types.
create function pgbackground.records(pid int4, cookie int8) returns setof record
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].records(pid, cookie)
$python$;

-- Purpose: the job's rows as literals, for a session whose own snapshot is older than they are.
create function pgbackground.literals(pid int4, cookie int8) returns setof text
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].records(pid, cookie)
$python$;

-- Purpose: raise 55000 when rows went away while they were read.
create function pgbackground.all_read(rows_read int8, row_count int8) returns void
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if rows_read <> row_count then
        raise exception using
            errcode = '55000',
            message = 'pg_background: the job''s rows were dropped while they were read',
            hint = 'They are dropped by detach and by retention.';
    end if;
end
$plpgsql$;
