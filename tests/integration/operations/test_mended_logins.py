"""What a DBA mends about the workers' connections reaches the sessions that are open."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.session import Session

REFUSED = psycopg.errors.SqlclientUnableToEstablishSqlconnection


def choose(admin: Session, conninfo: str) -> None:
    """Set what is appended to each worker's connection string."""
    admin.execute(
        "insert into background.pg_background_config values ('conninfo', %s)"
        " on conflict (name) do update set value = excluded.value",
        [conninfo],
    )


def test_conninfo_counts_from_the_next_connection_on(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.launch(gate.sql)
    choose(admin, "port=1")
    with pytest.raises(REFUSED):
        launcher.launch(gate.sql)
    choose(admin, "connect_timeout=5")
    launcher.launch(gate.sql)
    gate.arrived(2)


def test_a_typo_in_a_session_that_has_never_launched_is_mended_without_a_reconnect(
    launcher: Session, admin: Session
) -> None:
    choose(admin, "no_such_word=1")
    with pytest.raises(REFUSED, match="could not log in"):
        launcher.launch("select 1")
    choose(admin, "")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_user_mapping_counts_from_the_next_connection_on(
    launcher: Session, admin: Session, gate: Gate, app: str
) -> None:
    launcher.launch(gate.sql)
    admin.execute("create server pg_background_loopback foreign data wrapper dblink_fdw")
    admin.execute("alter server pg_background_loopback options (add port '1')")
    with pytest.raises(REFUSED):
        launcher.launch(gate.sql)
    admin.execute("alter server pg_background_loopback options (drop port)")
    admin.execute(
        f"create user mapping for {app} server pg_background_loopback options (password '{app}')"
    )
    launcher.launch(gate.sql)
    gate.arrived(2)


def test_dblink_may_move_to_another_schema(launcher: Session, admin: Session, gate: Gate) -> None:
    launcher.launch(gate.sql)
    admin.execute("create schema elsewhere; alter extension dblink set schema elsewhere")
    for _ in range(2):
        launcher.launch(gate.sql)
    gate.arrived(3)


def test_dblink_may_be_installed_again(launcher: Session, admin: Session, gate: Gate) -> None:
    launcher.launch(gate.sql)
    admin.execute("drop extension dblink; create extension dblink")
    launcher.launch(gate.sql)
    gate.arrived(2)
    assert admin.rows("select detail from background.pg_background_check() where not ok") != []


def test_the_margin_of_connections_counts_at_once(launcher: Session, admin: Session) -> None:
    admin.execute("insert into background.pg_background_config values ('free_connections', '500')")
    with pytest.raises(psycopg.errors.TooManyConnections):
        launcher.launch("select 1")
    admin.execute("delete from background.pg_background_config")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
