"""Write docs/reference.md from the signatures and comments that the installed product has.

python -m tools.reference            writes it
python -m tools.reference --check    says whether it is up to date

The texts are the COMMENTs in sql/: change them there. The server is the one that tools/servers.py chooses.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from tools.product import ROOT, SCHEMA, install
from tools.servers import any_server

FILE = ROOT / "docs" / "reference.md"

PREFACE = """\
# Reference

Written by `make reference` from the comments in the database, where `\\df+` and `\\dv+` of psql show
them, too: change them in sql/. Everything lies in the schema that the product was installed in,
`background` unless the DBA chose another, and everything public begins with `pg_background_`.
Times and time-outs are in ms. Errors are named by their SQLSTATE.
"""

# creation order, which is that of sql/install.sql
ROUTINES = """
    select p.proname as name,
           pg_get_function_arguments(p.oid) as arguments,
           case p.prokind when 'p' then null else pg_get_function_result(p.oid) end as returns,
           coalesce(obj_description(p.oid, 'pg_proc'), '') as comment
      from pg_proc p
     where p.pronamespace = %s::regnamespace and not starts_with(p.proname, '_')
     order by p.oid
"""
RELATIONS = """
    select c.relname as name, coalesce(obj_description(c.oid, 'pg_class'), '') as comment,
           array(select a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                   from pg_attribute a
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  order by a.attnum) as columns
      from pg_class c
     where c.relnamespace = %s::regnamespace and c.relkind = any (%s)
       and starts_with(c.relname, 'pg_background')
     order by c.oid
"""
TYPE_COMMENTS = """
    select t.typname as name, coalesce(obj_description(t.oid, 'pg_type'), '') as comment
      from pg_type t where t.typnamespace = %s::regnamespace and t.typtype = 'c'
"""


def reference(connection: psycopg.Connection[Any], schema: str = SCHEMA) -> str:
    """Return the text of the reference for the product in a database."""
    # names of types without their schema
    connection.execute("select set_config('search_path', %s, false)", [schema])
    return "\n".join(
        [
            PREFACE,
            *_routines(connection, schema),
            *_relations(connection, schema, "Views", "v"),
            *_relations(connection, schema, "Types", "c"),
            *_relations(connection, schema, "Tables of the DBA", "r"),
        ]
    )


def _routines(connection: psycopg.Connection[Any], schema: str) -> Iterator[str]:
    rows = connection.execute(ROUTINES, [schema]).fetchall()
    yield "## Functions and procedures\n"
    for name, arguments, returns, comment in rows:
        if not _deprecated(comment):
            yield from _routine(name, arguments, returns, comment)
    yield "## Old names\n"
    yield "| name | |\n|---|---|"
    for name, _, _, comment in rows:
        if _deprecated(comment):
            yield f"| `{name}` | {comment} |"
    yield ""


def _routine(name: str, arguments: str, returns: str | None, comment: str) -> Iterator[str]:
    yield f"### {name}\n"
    arguments = (
        arguments.replace("IN ", "").replace("DEFAULT", "default").replace("NULL::text", "null")
    )
    call = f"{name}({arguments})"
    yield f"```\n{call}\n    returns {returns}\n```\n" if returns else f"```\ncall {call}\n```\n"
    yield f"{comment}\n"


def _deprecated(comment: str) -> bool:
    return comment.lower().startswith("deprecated")


def _relations(
    connection: psycopg.Connection[Any], schema: str, title: str, kind: str
) -> Iterator[str]:
    comments: dict[str, str] = dict(connection.execute(TYPE_COMMENTS, [schema]).fetchall())
    yield f"## {title}\n"
    for name, comment, columns in connection.execute(RELATIONS, [schema, [kind]]).fetchall():
        yield f"### {name}\n"
        yield f"{comment or comments.get(name, '')}\n"
        yield "```\n" + "\n".join(columns) + "\n```\n"


def installed_reference() -> str:
    """Return the text for this checkout, installed into a new database."""
    with any_server() as server, server.database(f"pg_background_ref_{os.getpid()}") as name:
        install(server.dsn(name))
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            return reference(connection)


def main(arguments: Sequence[str]) -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description="Write docs/reference.md.")
    parser.add_argument("--check", action="store_true", help="say whether it is up to date")
    options = parser.parse_args(arguments)
    text = installed_reference()
    if not options.check:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print("docs/reference.md is out of date: run `make reference`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
