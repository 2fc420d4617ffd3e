"""A queued job whose worker cannot be opened now waits on: only the server's last word on its login ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from tests.integration.queues import limit, use_queue
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.product import install

Connect = Callable[..., Session]


@pytest.fixture
def sessions() -> Iterator[Connect]:
    """Give sessions on a server where a process may open few files, with the product and the users alice and bob."""
    with LocalServer(settings={"max_files_per_process": 100}) as server, ExitStack() as connections:

        def connected(user: str = "postgres", **parameters: Any) -> Session:
            opened = psycopg.connect(server.dsn(user=user), autocommit=True, **parameters)
            return Session(connections.enter_context(closing(opened)))

        admin = connected()
        admin.execute("create role alice login; create role bob login")
        install(server.dsn())
        admin.execute("grant pgbackground_role to alice, bob")
        yield connected


@pytest.fixture
def admin(sessions: Connect) -> Session:
    """Give a session of the superuser."""
    return sessions()


@pytest.fixture
def queued(sessions: Connect, admin: Session) -> Handle:
    """Give a job of bob's that waits for nothing but somebody who starts it; bob has left."""
    limit(admin, "database", 0)
    bob = sessions("bob")
    use_queue(bob)
    job = bob.launch("select 'bob''s answer'")
    assert job.pid == 0
    pid = bob.pid
    bob.close()
    admin.until_gone(pid)
    admin.execute("delete from background.pg_background_limits")
    return job


def reasons(session: Session, job: Handle) -> list[str]:
    """Try to start what waits, and ask the doctor what is amiss."""
    session.wait(job, 1)
    rows = session.rows("select item, detail from background.pg_background_check() where not ok")
    return [f"{item}: {detail}" for item, detail in rows]


def test_a_starter_that_has_no_file_left_does_not_end_the_queued_jobs_of_others(
    sessions: Connect, admin: Session, queued: Handle
) -> None:
    crammed = sessions()
    crammed.execute(
        "do $$ begin for n in 1 .. 100 loop"
        " perform dblink_connect('idle ' || n, 'user=postgres dbname=' || current_database()"
        " || ' host=' || current_setting('unix_socket_directories') || ' port=' || current_setting('port'));"
        " end loop; exception when sqlclient_unable_to_establish_sqlconnection then null; end $$"
    )
    crammed.wait(queued, 1)
    assert admin.outcome(queued).state == "queued"
    assert sessions("bob").result(queued) == [("bob's answer",)]


@pytest.mark.parametrize(
    "trouble",
    [
        "alter role bob connection limit 0",
        "insert into background.pg_background_config values ('free_connections', 'rubbish')",
        "insert into background.pg_background_config values ('conninfo', 'host=/nowhere')",
        "insert into background.pg_background_config values ('conninfo', 'no option=1')",
    ],
)
def test_what_the_dba_can_mend_does_not_end_a_queued_job_and_the_doctor_tells_it(
    sessions: Connect, admin: Session, queued: Handle, trouble: str
) -> None:
    admin.execute(trouble)
    assert reasons(sessions(), queued)
    assert admin.outcome(queued).state == "queued"
    admin.execute("alter role bob connection limit -1; delete from background.pg_background_config")
    assert reasons(sessions(), queued) == []
    assert sessions("bob").result(queued) == [("bob's answer",)]


def test_trouble_with_one_login_does_not_hold_back_the_jobs_of_others(
    sessions: Connect, admin: Session, queued: Handle
) -> None:
    limit(admin, "database", 0)
    alice = sessions("alice")
    use_queue(alice)
    job = alice.launch("select 'alice''s answer'")
    admin.execute("alter role bob connection limit 0; delete from background.pg_background_limits")
    assert alice.wait(job, 10_000)
    assert alice.outcome(job).state == "stopped"
    assert admin.outcome(queued).state == "queued"


@pytest.mark.parametrize(
    "last_word",
    ["alter role bob nologin", "revoke connect on database postgres from public"],
)
def test_the_servers_last_word_on_the_login_ends_a_queued_job_with_it(
    sessions: Connect, admin: Session, queued: Handle, last_word: str
) -> None:
    admin.execute(last_word)
    sessions().wait(queued, 1)
    outcome = admin.outcome(queued)
    assert (outcome.state, outcome.sqlstate) == ("error", "08001")
    assert admin.error_info(queued)["detail"]


def test_a_starter_that_is_canceled_again_and_again_does_not_end_the_queued_jobs_of_others(
    sessions: Connect, admin: Session, queued: Handle
) -> None:
    """However often it happens to be canceled between taking the job up and handing it over."""
    alice = sessions("alice")
    for milliseconds in range(1, 200):
        alice.execute(f"set statement_timeout = {milliseconds}")
        try:
            alice.execute("select from background.pg_background_check()")
        except psycopg.errors.QueryCanceled:
            continue
        if admin.outcome(queued).completed:
            break
    assert sessions("bob").result(queued) == [("bob's answer",)]
