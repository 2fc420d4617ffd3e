"""A cancel or a time-out that comes while a worker's connection is opened is told as what it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from psycopg import errors

from tests.fix_wait import eventually
from tests.integration.session import Session
from tools.servers import Server


@pytest.fixture
def deaf(server: Server, admin: Session) -> Iterator[socket.socket]:
    """Send the workers' connections to a port where nobody speaks; give its socket."""
    if server.local is None:
        pytest.skip("the server has to reach a port of this test: only on a local server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        words = f"hostaddr=127.0.0.1 port={listener.getsockname()[1]} connect_timeout=2"
        admin.execute(
            "insert into background.pg_background_config (name, value) values ('conninfo', %s)",
            [words],
        )
        yield listener


@pytest.mark.usefixtures("deaf")
def test_a_statement_timeout_while_connecting_is_57014(launcher: Session) -> None:
    launcher.execute("set statement_timeout = '100ms'")
    with pytest.raises(errors.QueryCanceled, match="statement timeout"):
        launcher.launch("select 1")


def test_a_cancel_while_connecting_is_57014(
    launcher: Session, admin: Session, deaf: socket.socket
) -> None:
    told: list[BaseException] = []

    def launch() -> None:
        try:
            launcher.launch("select 1")
        except BaseException as error:  # noqa: BLE001 (told to the test's own thread)
            told.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    deaf.settimeout(10)
    with deaf.accept()[0]:
        admin.execute("select pg_cancel_backend(%s)", [launcher.pid])
        thread.join(30)
    assert [type(error) for error in told] == [errors.QueryCanceled]


def test_without_a_cancel_it_is_a_login_that_was_refused(
    launcher: Session, admin: Session, app: str, deaf: socket.socket
) -> None:
    deaf.close()
    with pytest.raises(errors.SqlclientUnableToEstablishSqlconnection) as refused:
        launcher.launch("select 1")
    assert "Connection refused" in str(refused.value.diag.message_detail)
    # and nothing is left of the attempt
    sessions = "select count(*) from pg_stat_activity where usename = %s"
    eventually(lambda: admin.value(sessions, [app]) == 1)
