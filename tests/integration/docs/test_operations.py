"""docs/operations.md: its SQL runs, and what it promises of a dump holds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.fix_db import Database
from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session
from tools.product import SCHEMA, build, find_psql, run_sql_file
from tools.servers import Server

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def statements(block: str) -> list[str]:
    """Take a block apart: a statement ends at the end of a line."""
    return [part.strip() for part in re.split(r";$", block, flags=re.MULTILINE) if part.strip()]


def meant(statement: str, app: str, job: Handle) -> str:
    """Put this test's job and role in the places of the page's."""
    filled = statement.replace(":pid", str(job.pid)).replace(":cookie", str(job.cookie))
    return re.sub(r"\bapp\b", app, filled)


@pytest.fixture
def reserved(admin: Session) -> None:
    """Make the rows that pages further down change."""
    admin.execute("insert into background.pg_background_limits values ('database', null, 40)")
    admin.execute("insert into background.pg_background_config values ('max_history', '100')")


def test_every_statement_of_the_page_runs_in_its_order(
    launcher: Session, admin: Session, gate: Gate, app: str
) -> None:
    done = launcher.launch("select 1")
    failed = launcher.launch("select 1/0")
    running = launcher.launch(gate.sql, label="stuck")
    gate.arrived()
    for job in (done, failed):
        launcher.wait(job)
    ran = 0
    for block in BLOCKS:
        for statement in statements(block):
            job = done if "_detach" in statement else running
            admin.execute(meant(statement, app, job))
            ran += 1
    assert ran >= 25
    assert launcher.finished(running).state == "canceled"
    gate.open()


@pytest.mark.usefixtures("reserved")
def test_the_query_for_a_stuck_job_names_its_blocker(
    launcher: Session, observer: Session, admin: Session
) -> None:
    launcher.execute("create table accounts (id int4)")
    observer.execute("begin")
    observer.execute("lock table accounts")
    job = launcher.launch("delete from accounts", label="stuck")
    assert not launcher.wait(job, 200)
    query = next(block for block in BLOCKS if "open_for" in block)
    found = admin.rows(query)
    assert [row[:3] for row in found] == [(job.pid, "stuck", observer.pid)]
    assert found[0][5] == "idle in transaction"
    observer.execute("rollback")
    launcher.wait(job)


def test_the_alert_for_failures_fires_only_when_there_are_many(
    launcher: Session, admin: Session
) -> None:
    query = next(
        statement for block in BLOCKS for statement in statements(block) if "having" in statement
    )
    for _ in range(9):
        launcher.wait(launcher.launch("select 1"))
    assert admin.rows(query) == []
    for _ in range(2):
        launcher.wait(launcher.launch("select 1/0"))
    assert admin.rows(query) == [(2, 11)]


def test_the_largest_results_are_found_and_dropped_by_detach(
    launcher: Session, admin: Session
) -> None:
    large = launcher.launch("select md5(i::text) from generate_series(1, 5000) i")
    small = launcher.launch("select 1")
    for job in (large, small):
        launcher.wait(job)
    query = next(s for block in BLOCKS for s in statements(block) if "pg_column_size" in s)
    assert [row[1] for row in admin.rows(query)] == [large.cookie, small.cookie]
    admin.detach(large)
    eventually(lambda: [row[1] for row in admin.rows(query)] == [small.cookie])


def test_a_dump_restores_the_product_without_the_jobs(
    db: Database, server: Server, launcher: Session, admin: Session, tmp_path: Path
) -> None:
    if server.local is None:
        pytest.skip("pg_dump must be of the server's version")
    launcher.wait(launcher.launch("select 1"))
    admin.execute("insert into background.pg_background_config values ('retention', '2 days')")
    line = re.search(r"^pg_dump (.*) mydb$", PAGE.read_text(), re.MULTILINE)
    assert line is not None
    dump = tmp_path / "dump.sql"
    program = Path(find_psql()).with_name("pg_dump")
    options = line.group(1).replace("'", "").split()
    subprocess.run([program, *options, "--file", dump, "--dbname", db.dsn], check=True)
    with server.database(f"{db.name}_restored") as restored:
        run_sql_file(server.dsn(restored), dump)
        copy = Database(server, restored)
        session = Session(copy.connect())
        assert session.value("select count(*) from pgbackground.job") == 0
        chosen = "select value from background.pg_background_config where name = 'retention'"
        assert session.value(chosen) == "2 days"
        assert session.result(session.launch("select 7")) == [("7",)]
        copy.close()


def test_an_upgrade_keeps_the_dbas_tables_and_the_sessions_that_are_open(
    db: Database, launcher: Session, admin: Session, tmp_path: Path
) -> None:
    before = launcher.launch("select 1")
    launcher.wait(before)
    admin.execute("insert into background.pg_background_config values ('retention', '2 days')")
    admin.execute("insert into background.pg_background_limits values ('role', null, 5)")
    aside, back = (block for block in BLOCKS if "kept_config" in block)
    for statement in statements(aside):
        admin.execute(statement)
    install = build(tmp_path, SCHEMA)
    run_sql_file(db.dsn, install.with_name("uninstall.sql"))
    # Another version has another hash, which is how open sessions know.
    text = install.read_text()
    digest = re.search(r"pg_background ([0-9a-f]{16})", text)
    assert digest is not None
    install.write_text(text.replace(digest.group(1), digest.group(1)[::-1]))
    run_sql_file(db.dsn, install)
    for statement in statements(back):
        admin.execute(statement)
    chosen = "select value from background.pg_background_config where name = 'retention'"
    assert admin.value(chosen) == "2 days"
    assert admin.value("select max_workers from background.pg_background_limits") == 5
    assert launcher.result(launcher.launch("select 7")) == [("7",)]
    assert launcher.outcome(before).state is None
