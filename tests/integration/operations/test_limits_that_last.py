"""What the DBA has set holds: after a role was renamed, a restart, a restore; and users do not lift it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database, Roles, unique_name
from tests.integration.queues import limit
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.product import find_psql, install, run_sql_file
from tools.servers import Server

FULL = psycopg.errors.ConfigurationLimitExceeded
SLEEP = "select pg_sleep(600)"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def rename(server: Server, old: str, new: str) -> None:
    """Give a role another name."""
    server.execute(sql.SQL("alter role {} rename to {}").format(*map(sql.Identifier, (old, new))))


def test_a_renamed_role_keeps_its_limit_and_its_old_name_does_not(
    server: Server, admin: Session, roles: Roles, connect: Callable[..., Session]
) -> None:
    old, new = roles.create("before"), unique_name("after")
    limit(admin, "role", 1, old)
    rename(server, old, new)
    roles.created[roles.created.index(old)] = new
    assert roles.create("unbound")
    renamed = connect(new)
    renamed.launch(SLEEP)
    with pytest.raises(FULL):
        renamed.launch(SLEEP)
    admin.execute("update background.pg_background_limits set max_workers = 2")
    renamed.launch(SLEEP)
    with pytest.raises(FULL):
        renamed.launch(SLEEP)
    # Who gets the old name is somebody else.
    server.execute(sql.SQL("create role {} login").format(sql.Identifier(old)))
    roles.created.append(old)
    roles.grant("pgbackground_role", old)
    other = connect(old)
    for _ in range(3):
        other.launch(SLEEP)


def test_a_limit_for_a_role_that_comes_later_binds_it(
    server: Server, admin: Session, roles: Roles, connect: Callable[..., Session]
) -> None:
    name = unique_name("later")
    limit(admin, "role", 0, name)
    server.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    roles.created.append(name)
    roles.grant("pgbackground_role", name)
    with pytest.raises(FULL):
        connect(name).launch("select 1")


def test_limits_that_were_put_aside_come_back_for_the_same_roles(
    server: Server, admin: Session, roles: Roles, connect: Callable[..., Session]
) -> None:
    old, new = roles.create("before"), unique_name("after")
    limit(admin, "role", 0, old)
    rename(server, old, new)
    roles.created[roles.created.index(old)] = new
    admin.execute("create table public.kept as table background.pg_background_limits")
    admin.execute("delete from background.pg_background_limits")
    admin.execute("insert into background.pg_background_limits table public.kept")
    assert admin.value("select name from background.pg_background_limits") == new
    with pytest.raises(FULL):
        connect(new).launch("select 1")


def test_in_a_copy_a_limit_counts_for_who_has_the_name(
    db: Database, server: Server, admin: Session, app: str
) -> None:
    limit(admin, "role", 0, app)
    admin.close()
    with server.database(f"{db.name}_copy", db.name) as copied:
        # As in another cluster, where the number is somebody else's.
        copy = Database(server, copied)
        copy.connect().execute(
            "alter table background.pg_background_limits disable trigger all;"
            " update background.pg_background_limits set named = 10"
        )
        with pytest.raises(FULL):
            Session(copy.connect(app)).launch("select 1")
        copy.close()


def until_refused(session: Session) -> int:
    """Launch jobs that stay until one is refused; how many there are."""
    for count in range(100):
        try:
            session.launch(SLEEP)
        except FULL:
            return count
    pytest.fail("nothing was refused")


def test_the_room_of_a_database_follows_max_connections() -> None:
    with LocalServer(settings={"max_connections": 40}) as server:
        install(server.dsn())
        for most in (40, 24, 32):
            server.settings["max_connections"] = most
            server.restart()
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                launcher = Session(connection)
                launcher.execute("set pg_background.max_workers = 1000")
                assert until_refused(launcher) == most // 2
                launcher.execute("select background.pg_background_cancel_all()")


@pytest.mark.parametrize(
    ("mine", "dbas", "most_ms"), [(0, 200, 200), (60000, 200, 200), (100, 60000, 100)]
)
def test_a_bound_on_time_outs_cannot_be_lifted_by_users(
    launcher: Session, admin: Session, mine: int, dbas: int, most_ms: int
) -> None:
    admin.execute(
        "insert into background.pg_background_limits (scope, worker_timeout) values ('role', %s)",
        [dbas],
    )
    launcher.execute(f"set pg_background.worker_timeout = {mine}")
    job = launcher.launch("set statement_timeout = 0; select pg_sleep(600)")
    assert launcher.finished(job).sqlstate == "57014"
    assert launcher.job(job)["timed_out"] is True
    assert admin.value("select timeout_ms from pgbackground.job") == most_ms


def test_a_limit_of_0_of_the_database_is_a_kill_switch(launcher: Session, admin: Session) -> None:
    block = next(
        each
        for each in re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        if "kill switch" in each
    )
    off, on = [part.strip() for part in block.split(";\n") if part.strip()][:2]
    launcher.execute("set pg_background.when_full = queue")
    admin.execute(off)
    queued = launcher.launch("select 1")
    launcher.execute("set pg_background.when_full = error")
    with pytest.raises(FULL):
        launcher.launch("select 1")
    assert launcher.wait(queued, 300) is False
    admin.execute(on)
    assert launcher.finished(queued).state == "stopped"


def test_max_history_holds_after_a_restore_of_the_documented_backup(
    db: Database, server: Server, launcher: Session, tmp_path: Path, app: str
) -> None:
    if server.local is None:
        pytest.skip("pg_dump must be of the server's version")
    for _ in range(40):
        launcher.wait(launcher.launch("select 1"))
    line = re.search(r"^pg_dump (.*) mydb$", PAGE.read_text(), re.MULTILINE)
    assert line is not None
    dump = tmp_path / "dump.sql"
    program = Path(find_psql()).with_name("pg_dump")
    options = line.group(1).replace("'", "").split()
    subprocess.run([program, *options, "--file", dump, "--dbname", db.dsn], check=True)
    with server.database(f"{db.name}_restored") as restored:
        run_sql_file(server.dsn(restored), dump)
        copy = Database(server, restored)
        admin, session = Session(copy.connect()), Session(copy.connect(app))
        admin.execute("insert into background.pg_background_config values ('max_history', '20')")
        for _ in range(200):
            session.wait(session.launch("select 1"))
        assert admin.value("select count(*) from pgbackground.job") < 20 + 64
        copy.close()
