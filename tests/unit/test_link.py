"""Connection strings, and why a connection was not opened."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg.conninfo
import pytest

from pg_background.errors import Refusal
from tests.unit.conftest import FakeDb, FakeServerError


@pytest.fixture
def link(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("link")


def words(conninfo: str) -> dict[str, Any]:
    """Read a connection string as libpq itself does."""
    return psycopg.conninfo.conninfo_to_dict(conninfo)


NAMES = [
    "app",
    "two words",
    "it's",
    "back\\slash",
    "\\'",
    "'; drop",
    "größe",
    "a=b user=postgres",
    "",
    "'",
]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_role_or_database_is_called_it_stays_one_value(
    link: Any, fake_db: FakeDb, name: str
) -> None:
    fake_db.facts["database"] = name
    found = words(link._conninfo(name or "app", "-c role=none"))
    assert found["user"] == (name or "app")
    assert found.get("dbname", "") == name
    assert found["options"] == "-c role=none"


def test_the_first_socket_folder_is_used_and_tcp_without_one(link: Any, fake_db: FakeDb) -> None:
    fake_db.facts["sockets"] = "/run/postgresql, /tmp"
    fake_db.facts["port"] = "5433"
    assert words(link._conninfo("app", ""))["host"] == "/run/postgresql"
    assert words(link._conninfo("app", ""))["port"] == "5433"
    fake_db.memory.clear()
    fake_db.facts["sockets"] = ""
    assert words(link._conninfo("app", ""))["host"] == "localhost"


def test_the_dba_sets_how_workers_log_in_but_not_where_or_as_whom(
    link: Any, fake_db: FakeDb
) -> None:
    fake_db.mapping = {"password": "it's \\ secret", "user": "postgres", "host": "db.local"}
    fake_db.facts["conninfo"] = (
        "sslmode=require passfile=/x dbname=other user=root options='-c a=b'"
    )
    found = words(link._conninfo("app", "-c role=none"))
    assert found == {
        "user": "app",
        "dbname": "postgres",
        "options": "-c role=none",
        "fallback_application_name": "pg_background",
        "password": "it's \\ secret",
        "host": "db.local",
        "port": "5432",
        "connect_timeout": "10",
        "sslmode": "require",
        "passfile": "/x",
    }


def test_the_beginning_of_a_connection_string_cannot_be_guessed(link: Any) -> None:
    # dblink takes a string of up to 63 bytes for the name of a foreign server.
    first, second = (link._conninfo("app", "")[:63] for _ in range(2))
    assert first != second
    assert len(set(first) & set("0123456789abcdef")) > 8


def test_a_link_knows_its_name_its_login_and_its_worker(link: Any, fake_db: FakeDb) -> None:
    one, two = link.open_link("app"), link.open_link("app")
    assert one.name != two.name
    assert set(fake_db.opened) == {one.name, two.name}
    assert (one.login, one.pid, one.job, one.role) == ("app", 4711, None, None)


@pytest.mark.parametrize(
    "reason",
    [
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "FATAL:  sorry, too many clients already",
        'FATAL:  too many connections for role "app"',
        'FATAL:  too many connections for database "x"',
    ],
)
def test_no_connection_left_is_53300_with_the_servers_reason(
    link: Any, fake_db: FakeDb, reason: str
) -> None:
    fake_db.refusal = FakeServerError("could not establish connection", "08001", reason)
    with pytest.raises(Refusal) as refused:
        link.open_link("app")
    assert refused.value.sqlstate == "53300"
    assert refused.value.fields["detail"] == reason
    assert refused.value.fields["hint"]


def test_a_refused_login_is_08001_with_the_servers_reason_and_a_cure(
    link: Any, fake_db: FakeDb
) -> None:
    fake_db.refusal = FakeServerError("could not establish connection", "08001", 'FATAL: no "app"')
    with pytest.raises(Refusal, match='could not log in as "app"') as refused:
        link.open_link("app")
    assert refused.value.sqlstate == "08001"
    assert refused.value.fields["detail"] == 'FATAL: no "app"'
    assert "pg_background_check()" in refused.value.fields["hint"]


@pytest.mark.parametrize(
    ("free", "reserved", "margin", "refused"),
    [(7, 3, None, False), (6, 3, None, True), (4, 3, "0", False), (3, 3, "0", True),
     (14, 3, "10", False), (13, 3, "10", True), (-1, 3, "0", True)],
)  # fmt: skip
def test_connections_for_people_are_left(
    link: Any, fake_db: FakeDb, free: int, reserved: int, margin: str | None, refused: bool
) -> None:
    fake_db.left = {"free": free, "reserved": reserved, "margin": margin}
    if not refused:
        link.open_link("app")
        return
    with pytest.raises(Refusal) as refusal:
        link.open_link("app")
    assert refusal.value.sqlstate == "53300"
    assert "free_connections" in refusal.value.fields["hint"]
    assert fake_db.opened == {}


def test_a_link_that_turns_out_to_take_a_persons_connection_is_closed_again(
    link: Any, fake_db: FakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter((7, 5))
    monkeypatch.setattr(
        fake_db, "connections_left", lambda: {"free": next(counts), "reserved": 3, "margin": None}
    )
    with pytest.raises(Refusal):
        link.open_link("app")
    assert fake_db.opened == {}


@pytest.mark.parametrize("margin", ["", "-1", "three", "1.5"])
def test_a_margin_that_is_no_number_is_refused(link: Any, fake_db: FakeDb, margin: str) -> None:
    fake_db.left["margin"] = margin
    if margin == "":
        link.open_link("app")
        return
    with pytest.raises(Refusal) as refused:
        link.open_link("app")
    assert refused.value.sqlstate == "22023"


@pytest.mark.parametrize(
    ("sqlstate", "lost"),
    [("08006", True), ("08003", True), ("57P01", True), ("57P05", True), ("25P03", True),
     ("57014", False), ("42501", False), ("", False), ("53400", False)],
)  # fmt: skip
def test_which_errors_mean_that_the_other_end_has_left(
    link: Any, sqlstate: str, lost: bool
) -> None:
    assert link.is_connection_loss(FakeServerError("x", sqlstate)) is lost


def test_a_seal_depends_on_every_word_and_on_the_secret(link: Any, fake_db: Any) -> None:
    fake_db.secret = lambda: "first"
    seals = {
        link.seal("cancel", 1),
        link.seal("cancel", 2),
        link.seal("look", 1),
        link.seal("cancel", 11),
    }
    assert len(seals) == 4
    assert link.seal("cancel", 1) in seals
    fake_db.memory.clear()
    fake_db.secret = lambda: "second"
    assert link.seal("cancel", 1) not in seals
