"""Links: how a worker logs in, why a connection was not opened, which one is used again, and a job's clock."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg.conninfo
import pytest

from pg_background.errors import Gone, Refusal
from tests.unit.conftest import FakeDb, FakeDblink, FakeServerError

Load = Callable[[str], ModuleType]


@pytest.fixture
def login(load: Load) -> Any:
    """Give the module, over a seam without a server."""
    return load("login")


@pytest.fixture
def link(load: Load) -> Any:
    """Give the module, over a seam without a server."""
    return load("link")


@pytest.fixture
def handover(load: Load) -> Any:
    """Give the module, over a seam without a server."""
    return load("handover")


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
    login: Any, fake_db: FakeDb, name: str
) -> None:
    fake_db.place["database"] = name
    found = words(login.conninfo(name or "app", "-c role=none"))
    assert found["user"] == (name or "app")
    assert found.get("dbname", "") == name
    assert found["options"] == "-c role=none"


def test_the_first_socket_folder_is_used_and_tcp_without_one(login: Any, fake_db: FakeDb) -> None:
    fake_db.place["sockets"] = "/run/postgresql, /tmp"
    fake_db.place["port"] = "5433"
    assert words(login.conninfo("app", ""))["host"] == "/run/postgresql"
    assert words(login.conninfo("app", ""))["port"] == "5433"
    fake_db.place["sockets"] = ""
    assert words(login.conninfo("app", ""))["host"] == "localhost"


def test_the_dba_sets_how_workers_log_in_but_not_where_or_as_whom(
    login: Any, fake_db: FakeDb
) -> None:
    fake_db.mapping = {"password": "it's \\ secret", "user": "postgres", "host": "db.local"}
    fake_db.place["conninfo"] = (
        "sslmode=require passfile=/x dbname=other user=root options='-c a=b'"
        " client_encoding=LATIN1 fallback_application_name=else"
    )
    found = words(login.conninfo("app", "-c role=none"))
    assert found == {
        "user": "app",
        "dbname": "postgres",
        "options": "-c role=none",
        "client_encoding": "UTF8",
        "fallback_application_name": "pg_background",
        "password": "it's \\ secret",
        "host": "db.local",
        "port": "5432",
        "connect_timeout": "10",
        "sslmode": "require",
        "passfile": "/x",
    }


def test_what_the_dba_sets_counts_from_the_next_connection_on(login: Any, fake_db: FakeDb) -> None:
    login.conninfo("app", "")
    fake_db.place["conninfo"] = "sslmode=require"
    fake_db.mapping = {"password": "new"}
    found = words(login.conninfo("app", ""))
    assert (found["sslmode"], found["password"]) == ("require", "new")


def test_the_beginning_of_a_connection_string_cannot_be_guessed(login: Any) -> None:
    # dblink takes a string of up to 63 bytes for the name of a foreign server.
    first, second = (login.conninfo("app", "")[:63] for _ in range(2))
    assert first != second
    assert len(set(first) & set("0123456789abcdef")) > 8


@pytest.mark.parametrize("options", ["WORKER_OPTIONS", "EXECUTOR_OPTIONS"])
def test_every_link_is_born_with_settings_that_decide_what_a_command_means(
    login: Any, options: str
) -> None:
    text = getattr(login, options).replace("\\ ", " ")
    settings = dict(each.strip().split("=", 1) for each in text.split("-c ")[1:])
    assert {
        "search_path": "pg_catalog, pg_temp",
        "standard_conforming_strings": "on",
        "statement_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        "default_transaction_deferrable": "off",
        "role": "none",
    }.items() <= settings.items()
    # A worker whose launcher has left must not send it anything.
    silent = (settings["client_min_messages"], settings["client_connection_check_interval"])
    assert (silent == ("error", "0")) is (options == "WORKER_OPTIONS")


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
    link: Any, fake_dblink: FakeDblink, reason: str
) -> None:
    fake_dblink.refusal = FakeServerError("could not establish connection", "08001", reason)
    with pytest.raises(Refusal) as refused:
        link.open_link("app")
    assert refused.value.sqlstate == "53300"
    assert refused.value.fields["detail"] == reason
    assert refused.value.fields["hint"]


def test_a_refused_login_is_08001_with_the_servers_reason_and_a_cure(
    link: Any, fake_dblink: FakeDblink
) -> None:
    reason = 'FATAL: no "app"'
    fake_dblink.refusal = FakeServerError("could not establish connection", "08001", reason)
    with pytest.raises(Refusal, match='could not log in as "app"') as refused:
        link.open_link("app")
    assert refused.value.sqlstate == "08001"
    assert refused.value.fields["detail"] == reason
    assert "pg_background_check()" in refused.value.fields["hint"]


def test_a_cancel_while_a_link_is_opened_stays_a_cancel(link: Any, fake_dblink: FakeDblink) -> None:
    fake_dblink.refusal = FakeServerError("canceling statement due to user request", "57014")
    with pytest.raises(FakeServerError):
        link.open_link("app")


def test_a_link_knows_its_name_its_login_and_its_worker(link: Any, fake_dblink: FakeDblink) -> None:
    one, two = link.open_link("app"), link.open_link("app")
    assert one.name != two.name
    assert set(fake_dblink.opened) == {one.name, two.name}
    assert (one.login, one.pid, one.job, one.role) == ("app", 4711, None, None)


@pytest.mark.parametrize(
    ("free", "reserved", "margin", "refused"),
    [(7, 3, None, False), (6, 3, None, True), (4, 3, "0", False), (3, 3, "0", True),
     (14, 3, "10", False), (13, 3, "10", True), (-1, 3, "0", True)],
)  # fmt: skip
def test_connections_for_people_are_left(
    link: Any,
    fake_db: FakeDb,
    fake_dblink: FakeDblink,
    free: int,
    reserved: int,
    margin: str | None,
    refused: bool,
) -> None:
    fake_db.left = {"free": free, "reserved": reserved, "margin": margin}
    if not refused:
        link.open_link("app")
        return
    with pytest.raises(Refusal) as refusal:
        link.open_link("app")
    assert refusal.value.sqlstate == "53300"
    assert "free_connections" in refusal.value.fields["hint"]
    assert fake_dblink.opened == {}


def test_a_link_that_turns_out_to_take_a_persons_connection_is_closed_again(
    link: Any, fake_db: FakeDb, fake_dblink: FakeDblink
) -> None:
    # The server sees this session's new connection, and one that another has opened meanwhile.
    fake_db.questions["as margin"] = lambda: [
        {"free": 7 - 2 * len(fake_dblink.opened), "reserved": 3, "margin": None}
    ]
    with pytest.raises(Refusal):
        link.open_link("app")
    assert fake_dblink.opened == {}


def test_what_makes_room_may_take_a_persons_connection(link: Any, fake_db: FakeDb) -> None:
    fake_db.left = {"free": 1, "reserved": 3, "margin": None}
    assert link.open_link("app", reserved=True).pid == 4711
    assert link.take("boss", reserved=True).login == "boss"


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


# --- the pool ----------------------------------------------------------------------------------


def who(load: Load, login: str, role: str = "", *, own: bool = True) -> Any:
    """Make an identity."""
    return load("identity").Identity(login, role or login, own_login=own)


def with_job(link: Any, fake_db: FakeDb, fake_dblink: FakeDblink, key: int) -> Any:
    """Open a link whose worker is at work."""
    found = link.take("app")
    found.job = key
    fake_db.held_locks.add(key)
    fake_dblink.busy.add(found.name)
    return found


def test_an_idle_link_of_the_same_login_is_used_again(link: Any, fake_dblink: FakeDblink) -> None:
    first = link.take("app")
    assert link.take("app") is first
    assert link.take("other") is not first
    assert len(fake_dblink.opened) == 2


def test_a_link_whose_job_runs_is_left_alone(
    link: Any, fake_db: FakeDb, fake_dblink: FakeDblink
) -> None:
    first = with_job(link, fake_db, fake_dblink, 17)
    second = link.take("app")
    assert second is not first
    assert (first.job, second.job) == (17, None)
    # The job has ended, and its worker has tidied up.
    fake_db.held_locks.clear()
    fake_dblink.busy.clear()
    second.job = link.HELD
    assert link.take("app") is first
    assert first.job is None


def test_a_worker_that_only_tidies_up_is_waited_for_but_not_one_with_a_job_from_the_queue(
    link: Any, fake_db: FakeDb, fake_dblink: FakeDblink, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_job(link, fake_db, fake_dblink, 17)
    fake_db.held_locks.clear()
    has_job = [True]
    fake_db.questions["j.live and j.pid = $1"] = lambda _: [{"exists": has_job[0]}]
    assert link.settle(first) is False
    assert fake_db.slept_ms == 0
    has_job[0] = False
    # Its tidying up takes until this session sleeps.
    monkeypatch.setattr(fake_db, "sleep", lambda _: fake_dblink.busy.discard(first.name))
    assert link.settle(first) is True
    assert first.job is None


def test_a_link_that_was_lost_is_forgotten(link: Any, fake_dblink: FakeDblink) -> None:
    first = link.take("app")
    first.job = 17
    fake_dblink.lost.add(first.name)
    second = link.take("app")
    assert second is not first
    assert link.session.links() == [second]


def test_a_link_lost_during_its_use_is_replaced_and_other_errors_are_told(
    link: Any, load: Load, fake_dblink: FakeDblink
) -> None:
    tried: list[Any] = []

    def once_lost(to: Any) -> None:
        tried.append(to)
        if len(tried) == 1:
            raise FakeServerError("terminating connection", "57P01")
        if len(tried) == 2:
            raise Gone

    link.over(who(load, "app"), once_lost)
    assert len({each.name for each in tried}) == 3
    assert list(fake_dblink.opened) == [tried[2].name]

    def refused(_: Any) -> None:
        raise FakeServerError("too many background workers", "53400")

    with pytest.raises(FakeServerError, match="too many"):
        link.over(who(load, "app"), refused)
    assert fake_dblink.opened == {}
    assert link.session.links() == []


def test_links_that_are_lost_again_and_again_are_08006(link: Any, load: Load) -> None:
    def lost(_: Any) -> None:
        raise Gone

    with pytest.raises(Refusal, match="again and again") as refused:
        link.over(who(load, "app"), lost)
    assert refused.value.sqlstate == "08006"
    assert link.session.links() == []


def test_while_a_link_is_used_nobody_takes_it_for_something_else(
    link: Any, load: Load, fake_dblink: FakeDblink
) -> None:
    def inside(outer: Any) -> None:
        assert link.take("app") is not outer

    link.over(who(load, "app"), inside)
    assert [each.job for each in link.session.links()] == [None, None]
    assert len(fake_dblink.opened) == 2


def test_a_link_of_another_login_is_used_once_and_closed(
    link: Any, load: Load, fake_dblink: FakeDblink
) -> None:
    assert link.has_room(1)
    seen: list[Any] = []
    link.over(who(load, "owner", own=False), seen.append)
    assert fake_dblink.opened == {}
    assert link.session.links() == []
    assert seen[0].login == "owner"
    # From here on a job of this session may run that no link tells of.
    assert not link.has_room(1000)


def test_the_role_of_a_link_is_set_and_taken_back(
    link: Any, load: Load, fake_dblink: FakeDblink
) -> None:
    link.over(who(load, "app", "it's"), lambda _: None)
    (used,) = link.session.links()
    assert used.role == "it's"
    link.over(who(load, "app"), lambda _: None)
    link.over(who(load, "app"), lambda _: None)
    assert used.role is None
    assert fake_dblink.told(used.name) == [
        "select pg_catalog.set_config('role', 'it''s', false)",
        "select pg_catalog.set_config('role', 'none', false)",
    ]


def test_a_session_has_room_while_its_links_tell_of_fewer_jobs(
    link: Any, fake_db: FakeDb, fake_dblink: FakeDblink
) -> None:
    with_job(link, fake_db, fake_dblink, 17)
    noted = link.take("app")
    noted.job = link.NOTE
    assert link.has_room(2)
    assert not link.has_room(1)
    link.give_up(noted)
    assert link.has_room(2)
    # The job of a link that is given up runs on, and is not counted any longer.
    link.give_up(link.session.links()[0])
    assert not link.has_room(1000)


def test_a_session_that_becomes_somebody_else_closes_the_links_of_before(
    link: Any, fake_dblink: FakeDblink
) -> None:
    link.take("app")
    kept = link.take("other")
    link.drop_strangers("other")
    assert link.session.links() == [kept]
    assert list(fake_dblink.opened) == [kept.name]


def test_a_link_that_somebody_has_closed_is_closed(link: Any, fake_dblink: FakeDblink) -> None:
    first = link.take("app")
    fake_dblink.opened.clear()
    link.give_up(first)
    assert link.session.links() == []


def test_a_note_is_sent_and_not_waited_for(link: Any, load: Load, fake_dblink: FakeDblink) -> None:
    link.note(who(load, "app"), "call x()")
    (used,) = link.session.links()
    assert used.job == link.NOTE
    assert fake_dblink.told(used.name) == ["call x()"]
    fake_dblink.lost.add(used.name)
    link.note(who(load, "app"), "call y()")
    assert fake_dblink.told(link.session.links()[0].name) == ["call y()"]


def test_what_may_be_left_undone_is_left_undone_but_for_a_cancel(link: Any) -> None:
    def refuse(error: Exception) -> Any:
        def action() -> None:
            raise error

        return link.attempt(action)

    assert link.attempt(lambda: 3) == 3
    assert refuse(Refusal("no connection", "53300")) is None
    assert refuse(FakeServerError("busy", "55P03")) is None
    with pytest.raises(FakeServerError):
        refuse(FakeServerError("canceling statement due to user request", "57014"))
    with pytest.raises(ZeroDivisionError):
        refuse(ZeroDivisionError())


# --- the hand-over -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worker_ms", "statement", "clock_ms"),
    [(0, None, 0), (0, "", 0), (0, "0", 0), (500, None, 500), (0, "2s", 2000), (500, "2s", 500),
     (3000, "2s", 2000), (500, "0", 500), (0, "nonsense", 0), (7, "7ms", 7)],
)  # fmt: skip
def test_the_clock_of_a_job_is_the_shorter_of_its_time_outs(
    handover: Any, worker_ms: int, statement: str | None, clock_ms: int
) -> None:
    assert handover.Limits(worker_ms, statement).clock_ms == clock_ms


def test_the_command_begins_with_the_jobs_text_as_a_comment_that_nothing_ends(
    handover: Any,
) -> None:
    for sql in (
        "select 1 /* a */",
        "*/ drop table t; /*",
        "select 1 *",
        "x" * 899 + "*/" + "y" * 99,
        "/",
    ):
        text = handover.text(sql, (5, ["a"], ["it's"], False))
        comment, end, command = text.partition(" */ ")
        assert (comment[:3], end) == ("/* ", " */ ")
        assert "/*" not in comment[2:]
        assert "*/" not in comment
        assert len(comment) < 1000
        assert command == "call pgbackground.run(5, array['a'], array['it''s'], false)"
    assert handover.text("x", (5, None, None, True)).endswith("null, null, true)")


@pytest.mark.parametrize(
    ("worker_ms", "statement", "version", "clocks"),
    [
        (0, None, 170000, {}),
        (500, None, 160000, {"statement_timeout": "500"}),
        (500, None, 170000, {"statement_timeout": "500", "transaction_timeout": "1500"}),
        (500, "100ms", 170000, {"statement_timeout": "100", "transaction_timeout": "1500"}),
        # A launcher's statement_timeout alone is no bound of the job's transaction.
        (0, "100ms", 170000, {"statement_timeout": "100"}),
    ],
)
def test_a_worker_is_given_its_clock_before_its_command(
    handover: Any,
    link: Any,
    fake_db: FakeDb,
    fake_dblink: FakeDblink,
    worker_ms: int,
    statement: str | None,
    version: int,
    clocks: dict[str, str],
) -> None:
    fake_db.questions["server_version_num"] = lambda: [{"version": version}]
    to = link.take("app")
    handover.send(to, 17, "call x()", handover.Limits(worker_ms, statement))
    assert to.job == 17
    assert fake_dblink.told(to.name) == [
        *(f"select pg_catalog.set_config('{name}', '{ms}', false)" for name, ms in clocks.items()),
        "call x()",
    ]
    fake_dblink.lost.add(to.name)
    with pytest.raises(Gone):
        handover.send(to, 18, "call x()", handover.Limits(0, None))
