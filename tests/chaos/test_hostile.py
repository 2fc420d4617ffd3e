"""A plain user who calls, replays and locks whatever she can see gains nothing, and holds nobody up.

She knows nothing of what is inside: functions are those that pg_proc says she may execute, arguments what she reads in
pg_stat_activity, pg_locks and her own notices, parse trees included.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.integration.security import locks
from tests.integration.session import ENDED, Handle, Session, elapsed_ms

LATE_MS = 3000
# What takes longer than this is ended from outside, and counted.
HANGS_S = 8
SECRET = "bobs_secret"  # noqa: S105
ATTACKERS = 6
FUNCTIONS = """
    select p.oid::regproc::text, p.prokind = 'p',
           array(select format_type(t, null) from unnest(p.proargtypes) t)::text[]
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where n.nspname like '%background%' and p.prokind in ('f', 'p') and p.prorettype <> 'trigger'::regtype
       and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
     order by p.oid::regprocedure::text
"""
SEEN = """
    select query from pg_stat_activity
     where pid <> pg_backend_pid() and query <> '' and query !~ 'pg_stat_activity'
"""
LISTEN = """
    do $do$
    declare stop timestamptz := clock_timestamp() + interval '1 second';
    begin
        delete from public.overheard where heard < clock_timestamp() - interval '3 seconds';
        while clock_timestamp() < stop loop
            insert into public.overheard
            select distinct query, clock_timestamp() from pg_stat_activity
             where usename = session_user and pid <> pg_backend_pid() and query ~ 'background'
               and query !~ 'pg_stat_activity' and length(query) < 1000
            on conflict do nothing;
            commit;
            perform pg_stat_clear_snapshot();
        end loop;
    end $do$
"""
SAY_AGAIN = """
    for turn in 1 .. 20 loop
        for said in select query from public.overheard order by heard desc limit 20 loop
            begin
                execute said;
            exception when others then
                null;
            end;
        end loop;
        perform pg_sleep(0.02);
    end loop;
"""
TEXTS = (
    "select 1",
    "select pg_sleep(0.2)",
    "vacuum",
    "do $$ begin commit; end $$",
    "select 1/0",
    "%",
    "",
)
NUMBERS = (0, 1, -1, 60_000, 9223372036854775807)


class Alice:
    """One attacking session after the other, with what they have found out together."""

    def __init__(self, db: Database, login: str, chance: random.Random, heard: list[str]) -> None:
        self._db, self._login, self._chance = db, login, chance
        self.heard = heard
        self.calls = 0
        self._handles: list[Handle] = []
        self._functions: list[tuple[Any, ...]] = []
        self._ways = (
            self._calls, self._in_transaction, self._every_pair, self._in_jobs, self._locks, self._queue,
        )  # fmt: skip
        self.stop = False

    def attack(self) -> None:
        """Go on until told to stop."""
        while not self.stop:
            with contextlib.suppress(psycopg.Error), self._session() as session:
                self._functions = session.rows(FUNCTIONS)
                for _ in range(20):
                    if self.stop:
                        break
                    with contextlib.suppress(psycopg.Error):
                        self._chance.choice(self._ways)(session)
                    session.execute("rollback")

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        dsn = self._db.server.dsn(self._db.name, self._login, password=self._login)
        # Among what she calls is what deallocates the session's prepared statements.
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            connection.add_notice_handler(self._listen)
            session = Session(connection)
            session.execute(
                "set statement_timeout = '500ms'; set client_min_messages = log; set debug_print_parse = on;"
                " set pg_background.worker_timeout = '20s'"
            )
            yield session

    def _listen(self, notice: psycopg.errors.Diagnostic) -> None:
        text = f"{notice.message_primary} {notice.message_detail} {notice.context}"
        self.heard.append(text)
        del self.heard[:-500]

    def _look(self, session: Session) -> list[str]:
        texts = [row[0] for row in session.rows(SEEN)]
        self.heard.extend(text for text in texts if SECRET in text)
        return texts

    def _calls(self, session: Session) -> None:
        for _ in range(20):
            self._try(session, self._statement(self._look(session)))

    def _in_transaction(self, session: Session) -> None:
        """The same in a transaction that is held open for a while, whatever fails in it."""
        session.execute("begin")
        for _ in range(20):
            self._try(session, self._statement(self._look(session)), safely=True)
        self._stay(session)

    def _every_pair(self, session: Session) -> None:
        """One function with each number and each word of what was overheard, in a transaction that is held open."""
        texts = [text for text in self._look(session) if re.search(r"'[^']{16,}'", text)]
        takers = [each for each in self._functions if {"bigint", "text"} <= set(each[2])]
        name, is_procedure, types = self._chance.choice(takers)
        session.execute("begin")
        for text in self._chance.sample(texts, min(10, len(texts))):
            for number in re.findall(r"\b\d{6,18}\b", text)[:5]:
                for word in re.findall(r"'([^']{16,})'", text)[:5]:
                    values = {
                        "bigint": f"{number}::int8",
                        "text": f"$w${word}$w$",
                        "boolean": "true",
                    }
                    given = ", ".join(values.get(each, f"null::{each}") for each in types)
                    verb = "call" if is_procedure else "select"
                    self._try(session, f"{verb} {name}({given})", safely=True)
        self._stay(session)

    def _stay(self, session: Session) -> None:
        """Keep what was taken, for longer than anybody may be held up."""
        session.execute(
            "set statement_timeout = '10s'; select pg_sleep(5); set statement_timeout = '500ms'"
        )

    def listen(self) -> None:
        """Write down, as fast as it can be read, what all of her sessions say: for jobs to say it again."""
        while not self.stop:
            with contextlib.suppress(psycopg.Error), self._session() as session:
                session.execute("set statement_timeout = 0; set debug_print_parse = off")
                while not self.stop:
                    session.execute(LISTEN)

    def _in_jobs(self, session: Session) -> None:
        """The same inside of a job, with all that is overheard until it has begun beside it."""
        self._handles.append(session.launch(self._saying_again(self._look(session))))

    def _queue(self, session: Session) -> None:
        """Fill a small house, so that such jobs wait in the queue."""
        session.execute("set pg_background.when_full = 'queue'; set pg_background.max_workers = 1")
        for _ in range(3):
            self._handles.append(session.launch(self._saying_again(self._look(session))))
        session.execute("reset pg_background.when_full; reset pg_background.max_workers")

    def _saying_again(self, texts: list[str]) -> str:
        own = "".join(
            f"begin execute $said${text}$said$; exception when others then null; end;"
            for text in (self._statement(texts) for _ in range(5))
            if "$said$" not in text
        )
        return f"do $do$ declare said text; begin {SAY_AGAIN} {own} perform pg_sleep(5); end $do$"

    def _locks(self, session: Session) -> None:
        """Take every advisory lock that is to be seen or read of, and wait for the others."""
        numbers = [
            number for text in self._look(session) for number in re.findall(r"\b\d{6,18}\b", text)
        ]
        keys = [f"{number}::int8" for number in numbers]
        keys += [locks.arguments(*row) for row in session.rows(locks.OTHERS)]
        for key in keys:
            session.execute(f"select pg_try_advisory_lock({key})")
        session.execute("set lock_timeout = '1s'")
        for key in self._chance.sample(keys, min(2, len(keys))):
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                session.execute(f"select pg_advisory_lock({key})")
        self._stay(session)
        session.execute("select pg_advisory_unlock_all()")

    def _try(self, session: Session, statement: str, *, safely: bool = False) -> None:
        """Run a statement; in a transaction, so that its failure does not end that."""
        self.calls += 1
        if safely:
            session.execute("savepoint s")
        try:
            cursor = session.execute(statement)
            said = str(cursor.fetchall()) if cursor.description else ""
        except psycopg.Error as error:
            if session.connection.closed:
                raise
            said = f"{error} {error.diag.message_detail} {error.diag.message_hint}"
            if safely:
                session.execute("rollback to savepoint s")
        if SECRET in said:
            self.heard.append(said)

    def _statement(self, texts: list[str]) -> str:
        """What was overheard, as it was, or a call with what stands in one of the texts."""
        text = self._chance.choice(texts or [""])
        if self._chance.random() < 0.2:
            return text
        pool = text if self._chance.random() < 0.7 else " ".join((*texts, *self.heard[-20:]))
        name, is_procedure, types = self._chance.choice(self._functions)
        given = ", ".join(self._argument(each, pool) for each in types)
        return f"{'call' if is_procedure else 'select'} {name}({given})"

    def _argument(self, kind: str, pool: str) -> str:
        choose = self._chance.choice
        numbers = [int(each) for each in re.findall(r"\b\d{1,18}\b", pool)][:200]
        if kind == "bigint":
            handles = [job.cookie for job in self._handles[-20:]]
            return f"{choose([*NUMBERS, *numbers * 3, *handles])}::int8"
        if kind in ("integer", "oid"):
            small = [number for number in numbers if number < 1 << 31]
            return f"{choose([0, 1, 10, 500, *small])}::{kind}"
        if kind == "text":
            words = re.findall(r"'([^']+)'", pool)[:200]
            return f"$w${choose([*TEXTS, *words * 2]).replace('$w$', '')}$w$::text"
        if kind == "boolean":
            return choose(("true", "false"))
        return f"null::{kind}"


def _said(answer: psycopg.pq.abc.PGresult | None) -> str:
    return answer.error_message.decode() if answer else "no answer"


class Others:
    """Bob who works, and the DBA who cancels: each call of theirs is timed."""

    def __init__(self, db: Database, login: str, attacker: str) -> None:
        self.bob = Session(db.connect(login))
        self.dba = Session(db.connect())
        self._rescue = Session(db.connect())
        self._attacker = attacker
        self.calls = 0
        self.held_up: list[str] = []
        self.failed: list[str] = []
        self.longest_ms = 0.0

    def ask(self, session: Session, words: str, statement: str, expected_ms: int = 0) -> Any:
        """Run a statement; count it when it takes 3 s longer than it may, or fails."""
        self.calls += 1
        connection = session.connection.pgconn
        began = time.monotonic()
        connection.send_query(statement.encode())
        answer = None
        rescued = False
        while True:
            if connection.is_busy():
                time.sleep(0.002)
                connection.consume_input()
                if elapsed_ms(began) > expected_ms + HANGS_S * 1000 and not rescued:
                    rescued = True
                    self._rescue.execute(
                        f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{self._attacker}'"
                    )
                continue
            found = connection.get_result()
            if found is None:
                break
            answer = found
        took = elapsed_ms(began) - expected_ms
        self.longest_ms = max(self.longest_ms, took)
        if took > LATE_MS:
            self.held_up.append(f"{words}: {took:.0f} ms")
        if answer is None or answer.error_message:
            self.failed.append(f"{words}: {_said(answer)}")
            return None
        return [
            [answer.get_value(row, column) for column in range(answer.nfields)]
            for row in range(answer.ntuples)
        ]

    def launch(self, text: str) -> tuple[int, int] | None:
        """Launch a job of bob's."""
        rows = self.ask(
            self.bob,
            "launch",
            f"select pid, cookie from background.pg_background_launch($job${text}$job$)",
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def work(self, number: int) -> None:
        """Let bob have one result, one time-out, and the DBA cancel one job of his and all of alice's."""
        job = self.launch(f"select '{SECRET} {number}'")
        if job:
            self.ask(
                self.bob,
                "result",
                f"select * from background.pg_background_result({job[0]}, {job[1]}) as t(a text)",
            )
            self.ask(
                self.bob, "detach", f"select background.pg_background_detach({job[0]}, {job[1]})"
            )
        self.ask(self.bob, "set", "set pg_background.worker_timeout = '500ms'")
        job = self.launch(f"select pg_sleep(60), '{SECRET}'")
        self.ask(self.bob, "set", "reset pg_background.worker_timeout")
        if job:
            self.ask(
                self.bob,
                "time-out",
                f"select background.pg_background_wait({job[0]}, {job[1]})",
                expected_ms=500,
            )
        job = self.launch(f"select pg_sleep(60), '{SECRET}'")
        if job:
            self.cancel("the DBA's cancel of bob's job", *job)
        live = self.dba.rows(
            "select pid, cookie from background.pg_background_jobs"
            " where role::text = %s and state <> all (%s) order by random() limit 3",
            [self._attacker, list(ENDED)],
        )
        for pid, cookie in live:
            self.cancel("the DBA's cancel of alice's job", pid, cookie)

    def cancel(self, words: str, pid: int, cookie: int) -> None:
        """Cancel a job as the DBA."""
        self.ask(
            self.dba, words, f"select background.pg_background_cancel({pid}, {cookie}, 500)", 500
        )


def gained(admin: Session, login: str, before: list[tuple[Any, ...]]) -> list[str]:
    """What the attacker is now that she was not, by the catalogs."""
    after = admin.rows(RIGHTS)
    return [str(row) for row in after if row not in before and login in str(row)]


RIGHTS = """
    select rolname::text, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
           array(select roleid::regrole::text from pg_auth_members where member = r.oid order by 1)
      from pg_roles r order by 1
"""


@pytest.mark.timeout(1800)
def test_a_hostile_user_gains_nothing_and_holds_nobody_up(
    db: Database,
    roles: Roles,
    admin: Session,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    alice = roles.create("alice", options="connection limit 60")
    bob = roles.create("bob")
    admin.execute(f"grant create, usage on schema public to {alice}")
    admin.execute("create table public.overheard (query text primary key, heard timestamptz)")
    admin.execute(f"alter table public.overheard owner to {alice}")
    admin.execute("insert into background.pg_background_limits values ('role', null, 12)")
    before = admin.rows(RIGHTS)
    heard: list[str] = []
    attackers = [
        Alice(db, alice, random.Random(chance.random()), heard)  # noqa: S311
        for _ in range(ATTACKERS)
    ]
    ends = time.monotonic() + rounds(40, 600)
    threads = [threading.Thread(target=each.attack, daemon=True) for each in attackers]
    threads.append(threading.Thread(target=attackers[0].listen, daemon=True))
    others = Others(db, bob, alice)
    for thread in threads:
        thread.start()
    number = 0
    while time.monotonic() < ends:
        others.work(number)
        number += 1
    for each in attackers:
        each.stop = True
    for thread in threads:
        thread.join(60)
    read = [text[:200] for text in heard if SECRET in text]
    rights = gained(admin, alice, before) + read
    counted(
        f"{sum(each.calls for each in attackers)} hostile calls; rights gained: {len(rights)};"
        f" {others.calls} calls of others, held up: {len(others.held_up)}, failed: {len(others.failed)},"
        f" the longest wait {others.longest_ms:.0f} ms"
    )
    admin.execute(
        f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{alice}'"
    )
    assert rights == []
    assert (others.held_up, others.failed) == ([], [])
