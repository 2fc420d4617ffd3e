"""Whatever is given to a function, the answer is a clear error, and session and registry are whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.session import Handle, Session

BROKEN_SQL = (
    "", " ", ";", ";;;", "select", "selec 1", "select 'open", 'select "open', "select $a$ open",
    "/* open", "select 1/0", "select 1;selec 2", "begin", "commit; select 1", "savepoint x",
    "copy t to stdout", "copy t from stdin", "select 1)", "((((", "vacuum full nothing_there",
    "call nothing_there()", "do $$ begin raise 'no'; end $$", "listen x", "set no.thing", "select $1",
    "execute nothing", "fetch all in nothing", "declare", "prepare transaction 'x'", "\\q", "é日\U0001f600",
    "create index concurrently on nothing_there (n)", "x" * 100_000, "select 1;" * 500,
)  # fmt: skip
NAMES = (
    "",
    " ",
    "nobody",
    'quo"te',
    "quo'te",
    "a" * 64,
    "é" * 40,
    "x; drop table t",
    "%",
    "_",
    "\\",
    "\n",
)
JSON = ("null", "[]", "{}", '[""]', '[null, 1, "x", {"a": []}]', "1", '"x"', "[[[]]]", "true")
NUMBERS = (None, 0, 1, -1, 63, 64, 2147483647, -2147483648, 268435457)
BIG = (None, 0, 1, -1, 9223372036854775807, -9223372036854775808)
TIMES = (
    "infinity",
    "-infinity",
    "epoch",
    "now",
    "294276-12-31",
    "4714-11-24 BC",
    "24:00",
    "2026-02-30",
)
PAUSES = (
    "0",
    "-1 s",
    "1 s",
    "infinity",
    "178000000 years",
    "1 month -30 days",
    "@ 1 min ago",
    "P1Y",
)
# How each of these ends is up to the input; anything else is no answer to a user's mistake.
CLEAR = {
    "0A000", "08007", "22001", "22003", "22004", "22007", "22008", "22023", "22012", "22025", "22P02", "22P05", "26000",
    "34000", "3D000", "42501", "42601", "42602", "42704", "42703", "42804", "42846", "42883", "42P01",
    "42P02", "53400", "54000", "54001", "55000", "57014", "2BP01", "P0001", "25001", "25P01",
}  # fmt: skip
INTERNAL = (
    "Traceback",
    "plpy.",
    "spiexceptions",
    "NoneType",
    "AttributeError",
    "KeyError",
    "TypeError",
)

FUNCTIONS = """
select p.proname, p.prokind::text, p.proretset,
       array(select format_type(t, null) from unnest(p.proargtypes) t),
       p.proallargtypes is null and p.prorettype = 'record'::regtype
  from pg_proc p
 where p.pronamespace = 'background'::regnamespace and p.proname like 'pg\\_background\\_%%'
   and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'x')
 order by 1, p.oid
"""


def _text(chance: random.Random) -> str | None:
    """Return broken SQL, an odd name, or noise without the zero byte, which no text can hold."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(BROKEN_SQL)
    if kind == 1:
        return chance.choice(NAMES)
    if kind == 2:
        return None
    letters = [chr(chance.randrange(1, 0x800)) for _ in range(chance.randrange(40))]
    return "".join(letters)


def _argument(kind: str, chance: random.Random, known: list[Handle]) -> Any:
    job = chance.choice(known)
    choices: dict[str, tuple[Any, ...]] = {
        "integer": (*NUMBERS, job.pid),
        "bigint": (*BIG, job.cookie),
        "boolean": (None, True, False),
        "jsonb": (None, *JSON),
        "timestamp with time zone": (None, *TIMES, _text(chance)),
        "interval": (None, *PAUSES, _text(chance)),
        "background.pg_background_handle": (None, "(,)", f"({job.pid},{job.cookie})", "(1", "()"),
    }
    if kind.endswith("[]"):
        return chance.choice((None, "{}", '{"(,)"}', "{NULL}", '{"(1,1)"}'))
    return chance.choice(choices[kind]) if kind in choices else _text(chance)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("who", ["user", "superuser"])
def test_bad_input_gets_a_clear_error_and_breaks_nothing(
    who: str,
    connect: Callable[..., Session],
    admin: Session,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    session = connect() if who == "user" else connect(None)
    # A call that hangs is seen as 57014 by a cancel that nobody asked for.
    session.execute("set statement_timeout = '20s'; set client_min_messages = error")
    known = [session.launch("select 1"), session.launch("select 1/0"), session.submit("select 2")]
    for job in known:
        session.wait(job)
    functions = admin.rows(FUNCTIONS)
    states: dict[str, int] = {}
    unclear = []
    for _ in range(rounds(3, 60)):
        for name, kind, _returns_set, types, is_record in functions:
            values = [_argument(each, chance, known) for each in types]
            places = ", ".join(f"%s::{each}" for each in types)
            columns = " as r (answer text)" if is_record else ""
            call = (
                f"{'call' if kind == 'p' else 'select * from'} background.{name}({places}){columns}"
            )
            try:
                session.execute(call, values)
                state = "success"
            except psycopg.Error as error:
                state = error.sqlstate or type(error).__name__
                diag = error.diag
                words = f"{diag.message_primary} {diag.message_detail} {diag.message_hint}"
                if state not in CLEAR or any(word in words for word in INTERNAL):
                    unclear.append(
                        (name, [str(value)[:60] for value in values], state, words[:200])
                    )
                elif "statement timeout" in words:
                    unclear.append((name, [str(value)[:60] for value in values], state, "hangs"))
            states[state] = states.get(state, 0) + 1
    counted(
        f"{sum(states.values())} calls of {len(functions)} functions: {states}; unclear: {len(unclear)}"
    )
    _assert_whole(session, admin)
    assert unclear == []


def _assert_whole(session: Session, admin: Session) -> None:
    """The session launches as before, and no job is left that cannot end."""
    assert session.result(session.launch("select 'whole'")) == [("whole",)]
    for pid, cookie in admin.rows(
        "select pid, cookie from background.pg_background_jobs where state in ('queued', 'running')"
    ):
        admin.execute("select background.pg_background_cancel(%s, %s, 2000)", (pid, cookie))
        assert admin.outcome(Handle(pid, cookie)).completed
    assert (
        admin.value(sql.SQL("select count(*) from pgbackground.job where sql is null").as_string())
        == 0
    )
