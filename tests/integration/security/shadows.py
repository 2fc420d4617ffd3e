"""Exact copies of everything in pg_catalog, made by a plain role to be found first, that tell who runs them."""

from __future__ import annotations

from psycopg import sql

from tests.integration.session import Session

# Words of the grammar (integer, boolean, timestamp ...) always mean the catalog's own types; these names do not.
TYPES = (
    "bool", "bytea", "date", "float4", "float8", "int2", "int4", "int8", "interval", "json", "jsonb", "name",
    "numeric", "oid", "regclass", "regprocedure", "regrole", "regtype", "text", "time", "timestamptz", "uuid",
)  # fmt: skip

# Takes any number of anything, which a function of a user cannot: these match the calls in use exactly.
OF_ANYTHING = (
    ("format", "pg_catalog.text, pg_catalog.int4"),
    ("format", "pg_catalog.text, pg_catalog.text"),
    ("format", "pg_catalog.text, pg_catalog.name"),
    ("format", "pg_catalog.text, pg_catalog.text, pg_catalog.text"),
    ("format", "pg_catalog.text, pg_catalog.regprocedure"),
    ("format", "pg_catalog.text, pg_catalog.regtype"),
    ("concat", "pg_catalog.text"),
    ("concat", "pg_catalog.text, pg_catalog.text"),
    ("concat", "pg_catalog.text, pg_catalog.text, pg_catalog.text"),
    ("concat", "pg_catalog.uuid, pg_catalog.uuid"),
    ("concat_ws", "pg_catalog.text, pg_catalog.text, pg_catalog.text"),
    ("concat_ws", "pg_catalog.text, pg_catalog.text, pg_catalog.int8"),
)

# Operators that the catalog has not: an expression finds them where it would else convert an operand.
MISSING = ("int2", "int4", "int8", "numeric", "float8", "text", "name", "oid")

MAKE = """
do $make$
declare
    home constant text := {home};
    each record;
    names text;
begin
    for each in
        select p.oid, p.proname, p.proretset, pg_get_function_identity_arguments(p.oid) as arguments,
               pg_get_function_result(p.oid) as result,
               (select string_agg('$' || n, ', ' order by n) from generate_series(1, p.pronargs) n) as places
          from pg_catalog.pg_proc p
         where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f'
           and p.provariadic = 0 and p.proargmodes is null
           and 'internal'::regtype <> all (p.proargtypes) and 'cstring'::regtype <> all (p.proargtypes)
           and '"any"'::regtype <> all (p.proargtypes)
    loop
        begin
            execute format(
                'create function %I.%I(%s) returns %s language plpgsql as %L', home, each.proname,
                (select string_agg('pg_catalog.' || quote_ident(t.typname), ', ' order by a.n)
                   from pg_catalog.pg_proc p, unnest(p.proargtypes) with ordinality a (type, n)
                   join pg_catalog.pg_type t on t.oid = a.type where p.oid = each.oid),
                each.result,
                format('begin perform %I.told(%L); %s pg_catalog.%I(%s); end', home, each.proname,
                       case when each.proretset then 'return query select * from'
                            when each.result = 'void' then 'perform' else 'return' end,
                       each.proname, each.places));
        exception when others then
            null;
        end;
    end loop;
    for each in
        select o.oid, o.oprname, l.typname as left_type, r.typname as right_type, res.typname as result
          from pg_catalog.pg_operator o
          left join pg_catalog.pg_type l on l.oid = o.oprleft
          join pg_catalog.pg_type r on r.oid = o.oprright
          join pg_catalog.pg_type res on res.oid = o.oprresult
         where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprcode <> 0
    loop
        begin
            names := 'shadow_' || each.oid;
            execute format(
                'create function %I.%I(%s pg_catalog.%I) returns pg_catalog.%I language plpgsql as %L', home, names,
                'pg_catalog.' || quote_ident(each.left_type) || ',', each.right_type, each.result,
                format('begin perform %I.told(%L); return %s operator(pg_catalog.%s) %s; end', home,
                       concat_ws(' ', each.left_type, each.oprname, each.right_type),
                       case when each.left_type is not null then '$1' end, each.oprname,
                       case when each.left_type is not null then '$2' else '$1' end));
            execute format(
                'create operator %I.%s (%s rightarg = pg_catalog.%I, function = %I.%I)', home, each.oprname,
                'leftarg = pg_catalog.' || quote_ident(each.left_type) || ',', each.right_type, home, names);
        exception when others then
            null;
        end;
    end loop;
    for each in
        select l.type as left_type, r.type as right_type, o.name
          from unnest({missing}::text[]) l (type), unnest({missing}::text[]) r (type),
               unnest(array['+', '-', '*', '/', '%', '=', '<>', '<', '>', '<=', '>=', '||']) o (name)
         where l.type <> r.type and not exists (
            select from pg_catalog.pg_operator p
             where p.oprname = o.name and p.oprleft = ('pg_catalog.' || l.type)::regtype
               and p.oprright = ('pg_catalog.' || r.type)::regtype)
    loop
        names := concat_ws(
            '_', 'missing', each.left_type, each.right_type, encode(convert_to(each.name, 'UTF8'), 'hex'));
        execute format(
            'create function %I.%I(pg_catalog.%I, pg_catalog.%I) returns pg_catalog.%s language plpgsql as %L',
            home, names, each.left_type, each.right_type,
            case when each.name ~ '[=<>]' then 'bool' when each.name = '||' then 'text' else 'numeric' end,
            format('begin perform %I.told(%L); return null; end', home,
                   concat_ws(' ', each.left_type, each.name, each.right_type)));
        execute format(
            'create operator %I.%s (leftarg = pg_catalog.%I, rightarg = pg_catalog.%I, function = %I.%I)',
            home, each.name, each.left_type, each.right_type, home, names);
    end loop;
end
$make$
"""


def cast_shadows(maker: Session, home: str) -> None:
    """Fill a schema, in which the role of the session may create, with copies of everything in pg_catalog.

    Whatever runs as anybody else than the maker's role is told; see `seen`.
    """
    role = maker.value("select current_user::text")
    text = """
        create table {home}.seen (teller text, what text, superuser text);
        grant insert on {home}.seen to public;
        create sequence {home}.bell;
        grant usage on sequence {home}.bell to public;
        create function {home}.told(what pg_catalog.text) returns void language plpgsql
        set search_path = pg_catalog as $told$
        begin
            if current_user::text <> {role} or session_user::text <> {role} then
                -- A sequence keeps its count when the transaction is rolled back.
                perform pg_catalog.nextval({bell});
                insert into {home}.seen values (current_user, what, current_setting('is_superuser'));
            end if;
        exception when read_only_sql_transaction then
            raise exception using errcode = 'XXSPY', message = 'a shadow ran: ' || what;
        end $told$;
        """
    names = {
        "home": sql.Identifier(home),
        "role": sql.Literal(role),
        "bell": sql.Literal(f"{home}.bell"),
    }
    maker.connection.execute(sql.SQL(text).format(**names))
    maker.connection.execute(
        sql.SQL(MAKE).format(home=sql.Literal(home), missing=sql.Literal(list(MISSING)))
    )
    for name, arguments in OF_ANYTHING:
        maker.execute(
            f"create function {home}.{name}({arguments}) returns pg_catalog.text language plpgsql"
            f" as $$ begin perform {home}.told('{name}'); return pg_catalog.{name}("
            + ", ".join(f"${n}" for n in range(1, arguments.count(",") + 2))
            + "); end $$"
        )
    for name in TYPES:
        maker.execute(
            f"""
            create function {home}.check_{name}(pg_catalog.{name}) returns pg_catalog.bool language plpgsql
                as $$ begin perform {home}.told('type {name}'); return true; end $$;
            create domain {home}.{name} as pg_catalog.{name} check ({home}.check_{name}(value))
            """
        )


def seen(witness: Session, home: str) -> list[tuple[str, str, str]]:
    """Return who ran a shadow in a role that is not its maker's: role, what, is_superuser.

    One row at least, also where every such run was rolled back.
    """
    rows = witness.rows(f"select distinct teller, what, superuser from {home}.seen order by 1, 2")
    rung = witness.value(f"select is_called from {home}.bell")
    return rows or ([("somebody", "rolled back", "")] if rung else [])
