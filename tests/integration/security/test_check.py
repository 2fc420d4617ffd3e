"""The doctor finds what is wrong, and what it advises puts it right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.session import Session


def findings(session: Session) -> list[tuple[str, bool, str, str | None]]:
    found: list[Any] = session.rows(
        "select item, ok, detail, cure from background.pg_background_check()"
    )
    return found


def only(session: Session, item: str) -> tuple[bool, str, str | None]:
    """Return ok, detail and cure of the only finding of that name."""
    found = [row[1:] for row in findings(session) if row[0] == item]
    assert len(found) == 1, found
    return found[0]


def complaints(session: Session) -> list[tuple[str, str, str | None]]:
    return [(item, detail, cure) for item, ok, detail, cure in findings(session) if not ok]


def test_a_healthy_database_gives_no_complaints(admin: Session, launcher: Session) -> None:
    assert complaints(admin) == []
    assert complaints(launcher) == []
    assert all(cure is None for _, ok, _, cure in findings(admin) if ok)


def test_a_superuser_is_told_of_every_login_and_others_of_theirs(
    admin: Session, launcher: Session, roles: Roles, app: str
) -> None:
    other, nobody = roles.create("other"), roles.create("nobody", member=False)
    told = {item for item, *_ in findings(admin)}
    assert {f"login of {app}", f"login of {other}", "login of postgres"} <= told
    assert f"login of {nobody}" not in told
    own = {item for item, *_ in findings(launcher) if item.startswith("login of ")}
    assert own == {f"login of {app}"}


def test_links_that_can_be_listed_are_found_and_the_cure_works(admin: Session) -> None:
    admin.execute("grant execute on function dblink_get_connections() to public")
    ok, _, cure = only(admin, "dblink names")
    assert not ok
    admin.execute(cure or "")
    assert complaints(admin) == []


def test_a_schema_that_others_may_write_to_is_found_and_the_cure_works(admin: Session) -> None:
    admin.execute("grant create on schema background to pgbackground_role")
    ok, detail, cure = only(admin, "schema")
    assert not ok
    assert "pgbackground_role" in detail
    admin.execute(cure or "")
    assert complaints(admin) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_worker", "5", "No such setting"),
        ("max_workers", "many", "whole number from 1 to 1000"),
        ("when_full", "wait", "Available values"),
    ],
)
@pytest.mark.parametrize("scope", ["role", "database", "role in database"])
def test_settings_without_effect_are_found_and_the_cure_works(
    admin: Session, db: Database, app: str, scope: str, name: str, value: str, said: str
) -> None:
    target = {
        "role": f"role {app}",
        "database": f"database {db.name}",
        "role in database": f"role {app} in database {db.name}",
    }[scope]
    admin.execute(f"alter {target} set pg_background.{name} = '{value}'")
    found = complaints(admin)
    assert [item for item, _, _ in found] == ["setting"]
    _, detail, cure = found[0]
    assert f"pg_background.{name} = {value}" in detail
    assert said in (cure or "")
    admin.execute((cure or "")[(cure or "").index("alter ") :])
    assert complaints(admin) == []


def test_a_setting_of_this_session_that_means_nothing_is_found(launcher: Session) -> None:
    launcher.execute("set pg_background.worker_timeout = 'soon'")
    assert [item for item, _, _ in complaints(launcher)] == ["setting"]
    launcher.execute("reset pg_background.worker_timeout")
    assert complaints(launcher) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retension", "7 days"),
        ("retention", "a while"),
        ("max_history", "-1"),
        ("free_connections", "some"),
        ("conninfo", "user=postgres"),
        ("conninfo", "sslmode=prefer dbname = other"),
    ],
)
def test_rows_of_the_configuration_without_effect_are_found(
    admin: Session, name: str, value: str
) -> None:
    admin.execute("insert into background.pg_background_config values (%s, %s)", [name, value])
    assert "setting" in [item for item, _, _ in complaints(admin)]
    assert "password" not in str(findings(admin))


def test_a_password_in_conninfo_is_not_shown(admin: Session) -> None:
    admin.execute(
        "insert into background.pg_background_config values ('conninfo', 'password=hunter2')"
    )
    assert "hunter2" not in str(findings(admin))


@pytest.mark.parametrize(
    ("scope", "name", "limit", "reason"),
    [
        ("role", "nobody_of_that_name", 1, "no role of that name"),
        ("database", "elsewhere", 1, "another database"),
        ("database", None, 100000, "not as many connections"),
    ],
)
def test_limits_without_effect_are_found(
    admin: Session, scope: str, name: str | None, limit: int, reason: str
) -> None:
    admin.execute(
        "insert into background.pg_background_limits values (%s, %s, %s)", [scope, name, limit]
    )
    ok, _, cure = only(admin, "limit")
    assert not ok
    assert reason in (cure or "")


def test_jobs_that_lost_their_workers_are_found_and_the_cure_works(
    admin: Session, launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    assert only(admin, "dead jobs")[0]
    admin.execute("select pg_terminate_backend(%s)", [job.pid])
    admin.until_gone(job.pid)
    ok, detail, cure = only(admin, "dead jobs")
    assert not ok
    assert str(job.pid) in detail
    assert cure is not None
    assert only(admin, "dead jobs")[0]
    assert launcher.outcome(job).state == "error"


def test_a_foreign_server_that_is_not_asked_is_found(
    admin: Session, launcher: Session, app: str
) -> None:
    admin.execute(f"grant usage on foreign data wrapper dblink_fdw to {app}")
    launcher.execute("create server pg_background_loopback foreign data wrapper dblink_fdw")
    ok, detail, cure = only(admin, "foreign server")
    assert not ok
    assert app in detail
    assert "alter server pg_background_loopback owner to" in (cure or "")


def test_few_free_connections_are_found(admin: Session) -> None:
    admin.execute(
        "insert into background.pg_background_config values ('free_connections', '100000')"
    )
    ok, detail, _ = only(admin, "connections")
    assert not ok
    assert "are free" in detail


def test_the_doctor_changes_nothing_and_leaves_no_session(
    admin: Session, launcher: Session, app: str
) -> None:
    findings(launcher)
    count = "select count(*) from pg_stat_activity where usename = %s and pid <> %s"
    eventually(lambda: admin.value(count, [app, launcher.pid]) == 0)
    assert admin.value("select count(*) from pgbackground.job") == 0
    launcher.execute("begin read only")
    assert findings(launcher)
