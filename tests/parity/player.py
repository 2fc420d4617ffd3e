"""Plays a scenario in a database, on one of the two products, and gives the answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from tests.fix_wait import eventually
from tests.parity.scenario import Scenario, Step

# No step of any scenario takes as long; one that does is stuck, and is canceled.
LONGEST_STEP_S = 20
END_MS = 15_000

_FIELDS = {
    "detail": "message_detail",
    "hint": "message_hint",
    "schema": "schema_name",
    "table": "table_name",
    "column": "column_name",
    "constraint": "constraint_name",
}
_PREFIX = re.compile(r"(?:pg_background|background worker): ")
_ERROR = re.compile(
    r"! (?P<sqlstate>\w{5})(?: (?P<message>.*?))?(?P<fields>(?: // .*)?)", re.DOTALL
)


@dataclass(frozen=True)
class Handle:
    """What a step reads where it names a job."""

    pid: int
    cookie: int

    def __format__(self, _: str) -> str:
        return f"{self.pid}, {self.cookie}"

    @property
    def handle(self) -> str:
        """The handle as a value of its type."""
        return f"row({self.pid}, {self.cookie})::pg_background_handle"


@dataclass
class Refused:
    """An error that a step was answered with."""

    sqlstate: str
    message: str
    own: bool
    fields: dict[str, str]

    def shown(self) -> str:
        """The answer line, complete."""
        behind = "".join(f" // {name}: {text}" for name, text in self.fields.items())
        return f"! {self.sqlstate} {self.message}{behind}"

    def shown_as(self, expected: str) -> str:
        """The answer line with no more in it than the expected line asks for."""
        wanted = _ERROR.fullmatch(expected)
        if wanted is None:
            return self.shown()
        names = [part.split(": ", 1)[0] for part in wanted["fields"].split(" // ")[1:]]
        message = f" {self.message}" if wanted["message"] else ""
        behind = "".join(f" // {name}: {self.fields.get(name, '')}" for name in names)
        return f"! {self.sqlstate}{message}{behind}"


@dataclass
class Answer:
    """Everything that a step was answered with."""

    lines: list[str] = field(default_factory=list)
    error: Refused | None = None

    def shown_as(self, expected: list[str]) -> list[str]:
        """The lines, the error as the expected line asks for it."""
        if self.error is None:
            return self.lines
        last = expected[-1] if expected else ""
        return [*self.lines, self.error.shown_as(last)]


def _column(value: bytes | None) -> str:
    if value is None:
        return "null"
    text = value.decode().replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    return text or "''"


def _rows(result: psycopg.pq.abc.PGresult) -> list[str]:
    if result.status != ExecStatus.TUPLES_OK:
        return [(result.command_status or b"").decode()]
    width = range(result.nfields)
    rows = [
        " | ".join(_column(result.get_value(row, column)) for column in width)
        for row in range(result.ntuples)
    ]
    return rows or ["(no rows)"]


@contextmanager
def _not_for_ever(connection: psycopg.Connection[Any]) -> Iterator[None]:
    timer = threading.Timer(LONGEST_STEP_S, connection.cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Session:
    """A connection that gives answers as lines of text."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._notices: list[str] = []
        connection.add_notice_handler(self._notice)

    def _notice(self, message: psycopg.errors.Diagnostic) -> None:
        first_line = (message.message_primary or "").split("\n", 1)[0]
        self._notices.append(f"~ {message.severity}: {_PREFIX.sub('', first_line)}")

    def must(self, sql: str, *values: Any) -> Any:
        """Run SQL that has to succeed, and return its first row."""
        with _not_for_ever(self.connection):
            cursor = self.connection.execute(sql, values or None)
            return cursor.fetchone() if cursor.description else None

    def ask(self, sql: str) -> Answer:
        """Run SQL and keep what comes back, an error too."""
        self._notices.clear()
        answer = Answer()
        rows: list[str] = []
        try:
            with _not_for_ever(self.connection):
                cursor = self.connection.execute(sql)
            if cursor.pgresult is not None:
                rows = _rows(cursor.pgresult)
        except psycopg.Error as error:
            answer.error = _refused(error.diag)
        answer.lines = self._notices + rows
        return answer


def _refused(diag: psycopg.errors.Diagnostic) -> Refused:
    message = diag.message_primary or ""
    fields = {name: getattr(diag, attribute) for name, attribute in _FIELDS.items()}
    return Refused(
        sqlstate=diag.sqlstate or "",
        message=_PREFIX.sub("", message, count=1).replace("\n", "\\n"),
        own=message.startswith("pg_background: "),
        fields={name: text for name, text in fields.items() if text},
    )


@dataclass
class Side:
    """One of the two products: its name in the scenarios, its schema, how to open a session."""

    name: str
    schema: str
    connect: Callable[[str | None], psycopg.Connection[Any]]
    # the names of the login roles app, other and plain
    roles: dict[str, str]


class Player:
    """Plays one scenario."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._sessions: dict[str, Session] = {}
        self._names: dict[str, Any] = {**side.roles, "schema": side.schema}
        self._now = self._session("main")
        self._must("drop schema if exists scratch cascade")
        self._must("create schema scratch")
        self._must("grant usage, create on schema scratch to public")

    def play(self, scenario: Scenario) -> Iterator[tuple[Step, Answer]]:
        """The steps that are compared, each with its answer, the expected one filled in."""
        for step in scenario.steps:
            answer = self._do(step)
            if answer is not None:
                yield step, answer

    def filled(self, text: str) -> str:
        """A text with the jobs' numbers and other names in it."""
        for name, value in self._names.items():
            if f"{{{name}" in text:
                text = text.replace(f"{{{name}}}", format(value))
                for part in ("pid", "cookie", "handle"):
                    if isinstance(value, Handle):
                        text = text.replace(f"{{{name}.{part}}}", str(getattr(value, part)))
        return text

    def end(self) -> None:
        """End what the scenario left behind: jobs that still run, and its sessions."""
        for session in self._sessions.values():
            session.connection.close()
        self._sessions.clear()
        jobs = [value for value in self._names.values() if isinstance(value, Handle)]
        with self.side.connect(None) as connection:
            for job in jobs:
                connection.execute("select pg_cancel_backend(%s)", [job.pid])
                connection.execute("select pg_terminate_backend(%s)", [job.pid])

    def _do(self, step: Step) -> Answer | None:
        text = self.filled(step.text)
        if step.verb in {">", "?"}:
            return self._answer(step, text)
        if step.verb == "on":
            self._now = self._session(text)
        elif step.verb == ".":
            self._must(text)
        elif step.verb == "ended":
            for name in text.split():
                self._ended(self._names[name])
        elif step.verb == "asleep":
            for name in text.split():
                self._asleep(self._names[name])
        else:
            self._start(step, text)
        return None

    def _answer(self, step: Step, text: str) -> Answer:
        if step.verb == ">":
            return self._now.ask(text)
        expected = [self.filled(line) for line in step.expected(self.side.name)]
        answers = [Answer()]

        def is_there() -> bool:
            answers[0] = self._now.ask(text)
            return answers[0].shown_as(expected) == expected

        eventually(is_there)
        return answers[0]

    def _start(self, step: Step, text: str) -> None:
        arguments = f", {step.args}".replace("%", "%%") if step.args else ""
        call = f"select pid, cookie from pg_background_{step.verb}(%s{arguments})"
        row = self._now.must(call, text)
        if row is None or row[0] is None:
            raise AssertionError(f"no handle for {text!r}")
        self._names[step.name] = Handle(*row)

    def _ended(self, job: Handle) -> None:
        row = self._now.must("select pg_background_wait(%s, %s, %s)", job.pid, job.cookie, END_MS)
        if row != (True,):
            raise AssertionError(f"the job {job} has not ended: {row}")

    def _asleep(self, job: Handle) -> None:
        """Wait for it: the C extension loses a cancel that comes before the job has begun."""
        look = "select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
        eventually(lambda: self._session("watcher").must(look, job.pid))

    def _must(self, sql: str) -> None:
        self._now.must(sql)

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            connection = self.side.connect(self.side.roles.get(name))
            connection.execute("set client_min_messages = notice")
            connection.execute(f"set search_path = scratch, {self.side.schema}")
            self._sessions[name] = Session(connection)
        return self._sessions[name]
