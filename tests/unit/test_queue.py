"""Which refusals end a queued job: the server's own last word on its login or role, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pg_background.errors import Refusal

SOCKET = 'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: '
HOST = 'connection to server at "localhost" (127.0.0.1), port 5432 failed: '
FINAL = (
    'FATAL:  role "bob" does not exist',
    'FATAL:  role "bob" is not permitted to log in',
    'FATAL:  password authentication failed for user "bob"',
    'FATAL:  password authentication failed for user "bob"\npassword retrieved from file "/x/.pgpass"',
    'FATAL:  Peer authentication failed for user "bob"',
    'FATAL:  Ident authentication failed for user "bob"',
    'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "bob", database "d", no encryption',
    'FATAL:  pg_hba.conf rejects connection for host "[local]", user "bob", database "d"',
    'FATAL:  database "d" does not exist',
    'FATAL:  permission denied for database "d"\nDETAIL:  User does not have CONNECT privilege.',
)
PASSING = (
    "There are too many open files on the local server.",
    "FATAL:  sorry, too many clients already",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is shutting down",
    "FATAL:  terminating connection due to administrator command",
    "FATAL:  canceling authentication due to timeout",
    'FATAL:  database "d" is not currently accepting connections',
    "FATAL:  out of memory",
    'FATAL:  could not open file "base/5/2601": Too many open files in system',
    'FATAL:  LDAP authentication failed for user "bob"',
    "FATAL:  Passwort-Authentifizierung für Benutzer »bob« fehlgeschlagen",
    "could not translate host name to address: Temporary failure in name resolution",
    "Connection refused\n\tIs the server running locally and accepting connections on that socket?",
    "timeout expired",
    "server closed the connection unexpectedly",
    'role "bob" does not exist',
    'FATAL:  out of memory for role "bob" does not exist',
    "",
)


@pytest.fixture
def is_final(load: Callable[[str], ModuleType]) -> Any:
    """Give the judge of refusals, over a seam without a server."""
    module: Any = load("queue")
    return module.is_final


@pytest.mark.parametrize("where", [SOCKET, HOST, f"{SOCKET}No such file or directory\n{HOST}"])
@pytest.mark.parametrize("said", FINAL)
def test_what_the_server_says_of_the_login_is_final(is_final: Any, where: str, said: str) -> None:
    assert is_final(Refusal("the worker could not log in", "08001", detail=where + said))


@pytest.mark.parametrize("said", PASSING)
def test_anything_else_may_pass(is_final: Any, said: str) -> None:
    assert not is_final(Refusal("the worker could not log in", "08001", detail=SOCKET + said))


@pytest.mark.parametrize("sqlstate", ["53300", "22023", "08006", "57014", "53400", "08001"])
def test_an_error_without_the_servers_word_may_pass(is_final: Any, sqlstate: str) -> None:
    assert not is_final(Refusal("no", sqlstate))


@pytest.mark.parametrize("sqlstate", ["42501", "42704"])
def test_a_role_that_is_gone_or_was_revoked_is_final(is_final: Any, sqlstate: str) -> None:
    assert is_final(Refusal("no", sqlstate))
