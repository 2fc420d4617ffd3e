"""Removing the product while it is at work: it says who is, waits a while, and deadlocks with nobody."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.operations.removal import Files, files, run, schemas
from tests.integration.session import Session
from tools.product import EXTENSION
from tools.servers import Server

ROUNDS = 24
LAUNCHERS = 4
IMPATIENT = "-c lock_timeout=300ms"


@pytest.fixture
def texts(tmp_path: Path) -> Files:
    """Give the files for psql."""
    return files(tmp_path)


def refusal(server: Server, database: str, text: str) -> str:
    """Try to remove the product; return the detail of why that cannot be now."""
    with pytest.raises(errors.ObjectInUse) as refused:
        run(server, database, text, IMPATIENT)
    assert "in use" in str(refused.value.diag.message_primary)
    assert "pg_background_cancel" in str(refused.value.diag.message_hint)
    return refused.value.diag.message_detail or ""


def test_a_running_job_is_named_and_keeps_the_product(
    server: Server, db: Database, texts: Files, launcher: Session, gate: Gate, app: str
) -> None:
    job = launcher.launch(f"{gate.sql}; select 'it ran'", label="nightly")
    gate.arrived()
    said = refusal(server, db.name, texts.uninstall)
    assert f"job of PID {job.pid}, role {app}, label 'nightly'" in said
    gate.open()
    assert launcher.result(job) == [("it ran",)]
    launcher.execute("select 1")
    run(server, db.name, texts.uninstall)
    assert "background" not in schemas(server, db.name)


def test_a_running_top_level_job_keeps_the_product(
    server: Server, db: Database, texts: Files, launcher: Session, gate: Gate
) -> None:
    launcher.execute("create table accounts (id int4)")
    gate.lock_table("accounts")
    job = launcher.launch("vacuum accounts", label="tidy")
    gate.arrived()
    assert f"job of PID {job.pid}" in refusal(server, db.name, texts.uninstall)
    gate.open()
    assert launcher.finished(job).state == "stopped"
    run(server, db.name, texts.uninstall)


def test_a_transaction_that_has_read_of_it_is_named(
    server: Server, db: Database, texts: Files, observer: Session, app: str
) -> None:
    observer.execute("begin")
    observer.rows("select * from background.pg_background_jobs")
    said = refusal(server, db.name, texts.uninstall)
    assert f"session of PID {observer.pid}, role {app}, idle in transaction" in said
    # Nobody has to wait behind the attempt.
    assert observer.rows("select * from background.pg_background_jobs") == []
    observer.execute("commit")
    run(server, db.name, texts.uninstall)


def test_removing_waits_for_a_job_that_is_about_to_end(
    server: Server, db: Database, texts: Files, launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    failed: list[BaseException] = []

    def remove() -> None:
        try:
            run(server, db.name, texts.uninstall, "-c application_name=remover -c lock_timeout=60s")
        except BaseException as error:  # noqa: BLE001 (told to the test's own thread)
            failed.append(error)

    thread = threading.Thread(target=remove)
    thread.start()
    with psycopg.connect(server.dsn(db.name), autocommit=True) as watcher:
        query = (
            "select from pg_stat_activity"
            " where application_name = 'remover' and wait_event in ('relation', 'PgSleep')"
        )
        eventually(lambda: watcher.execute(query).fetchall())
    gate.open()
    thread.join(60)
    assert failed == []
    assert "background" not in schemas(server, db.name)
    assert job.pid


def test_jobs_that_are_queued_are_told_of_and_go(
    server: Server, db: Database, texts: Files, launcher: Session, admin: Session
) -> None:
    admin.execute("insert into background.pg_background_limits values ('database', null, 0)")
    launcher.execute("set pg_background.when_full = queue")
    assert [launcher.launch("select 1").pid for _ in range(3)] == [0, 0, 0]
    assert "jobs that are queued and go with it: 3" in run(server, db.name, texts.uninstall)


class Crowd:
    """Sessions of one role that launch, wait and read all the time, whatever comes; counts what they are told."""

    def __init__(self, server: Server, database: str, role: str) -> None:
        self.server, self.database, self.role = server, database, role
        self.told: Counter[str] = Counter()
        self.leave = threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(LAUNCHERS)]

    def __enter__(self) -> Crowd:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave.set()
        for thread in self.threads:
            thread.join(60)

    def has_done(self, turns: int) -> bool:
        """Have so many turns gone well?"""
        return self.told["done"] >= turns

    def _work(self) -> None:
        dsn = self.server.dsn(self.database, self.role, self.role)
        with psycopg.connect(dsn, autocommit=True) as connection:
            session = Session(connection)
            while not self.leave.is_set():
                try:
                    job = session.launch("select n, repeat('x', 100) from generate_series(1, 50) n")
                    session.wait(job, 2000)
                    session.rows("select * from background.pg_background_jobs")
                    session.detach(job)
                    self.told["done"] += 1
                except psycopg.Error as error:
                    self.told[error.sqlstate or "none"] += 1


def storm(
    server: Server,
    database: str,
    role: str,
    install: Callable[[], None],
    remove: Callable[[], None],
) -> None:
    """Remove and install again and again under a crowd; nobody may meet a deadlock."""
    removed = 0
    with Crowd(server, database, role) as crowd:
        for _ in range(ROUNDS):
            done = crowd.told["done"]
            eventually(partial(crowd.has_done, done + 3), 30)
            try:
                remove()
            except errors.ObjectInUse:
                continue
            removed += 1
            install()
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        deadlocks = connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchall()
    assert deadlocks == [(0,)], crowd.told
    assert crowd.told["40P01"] == 0
    assert removed > ROUNDS / 2, crowd.told


def test_uninstall_sql_deadlocks_with_nobody(
    server: Server, bare: str, texts: Files, roles: Roles
) -> None:
    run(server, bare, texts.install)
    storm(
        server,
        bare,
        roles.create(),
        lambda: _ignore(run(server, bare, texts.install)),
        lambda: _ignore(run(server, bare, texts.uninstall)),
    )


def _ignore(_: object) -> None:
    """Have a function return nothing."""


@pytest.fixture
def extended(
    server: Server,
    bare: str,
    extension_folder: Path,  # noqa: ARG001
) -> Iterator[psycopg.Connection[object]]:
    """Give a superuser's session in a database that has the product as an extension."""
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute("create schema background")
        connection.execute(sql.SQL(f"create extension {EXTENSION} schema background cascade"))
        yield connection


def test_drop_extension_deadlocks_with_nobody(
    server: Server, bare: str, roles: Roles, extended: psycopg.Connection[object]
) -> None:
    storm(
        server,
        bare,
        roles.create(),
        lambda: _ignore(
            extended.execute(sql.SQL(f"create extension {EXTENSION} schema background"))
        ),
        lambda: _ignore(extended.execute(sql.SQL(f"drop extension {EXTENSION}"))),
    )


@pytest.mark.parametrize("extension", [EXTENSION, "dblink cascade"])
def test_drop_extension_says_who_is_at_work(
    server: Server, bare: str, roles: Roles, extended: psycopg.Connection[object], extension: str
) -> None:
    role = roles.create()
    with psycopg.connect(server.dsn(bare, role, role), autocommit=True) as connection:
        session = Session(connection)
        extended.execute("select pg_advisory_lock(1)")
        job = session.launch("select pg_advisory_xact_lock(1)")
        extended.execute("set lock_timeout = '300ms'")
        with pytest.raises(errors.ObjectInUse) as refused:
            extended.execute(sql.SQL(f"drop extension {extension}"))
        assert f"PID {job.pid}" in str(refused.value.diag.message_detail)
        extended.execute("select pg_advisory_unlock(1)")
        assert session.finished(job).state == "stopped"
        extended.execute("set lock_timeout = 0")
        extended.execute(sql.SQL(f"drop extension {extension}"))


def test_another_extension_is_dropped_under_running_jobs(
    server: Server, bare: str, roles: Roles, extended: psycopg.Connection[object]
) -> None:
    role = roles.create()
    extended.execute("create extension tablefunc")
    with psycopg.connect(server.dsn(bare, role, role), autocommit=True) as connection:
        session = Session(connection)
        extended.execute("select pg_advisory_lock(1)")
        job = session.launch("select pg_advisory_xact_lock(1)")
        extended.execute("drop extension tablefunc")
        extended.execute("select pg_advisory_unlock(1)")
        assert session.finished(job).state == "stopped"
