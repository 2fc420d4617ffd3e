"""How workers log in, set up from the very words of docs/security.md, on a server of its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.product import ROOT, install

DOCUMENT = ROOT / "docs" / "security.md"
# The document's names.
APP, PASSWORD = "app", "secret"
PASSFILE = "/etc/postgresql/pg_background.pgpass"
DATABASE = "a database"
# From this version on pg_ident.conf knows roles by membership.
IDENT_KNOWS_MEMBERS = 16


def block(words: str) -> str:
    """Return the block of the document that stands behind `<!-- setup: words -->`."""
    found = re.search(
        rf"<!-- setup: {re.escape(words)} -->\n```\w*\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    assert found, f"docs/security.md has no block for: {words}"
    return found.group(1)


@dataclass
class Cluster:
    """A server whose configuration a test may change; people come over TCP, workers over the socket."""

    dsn: str
    hba: str
    ident: str

    def connect(self, user: str = "postgres", dbname: str = DATABASE) -> Session:
        """Open a session."""
        return Session(psycopg.connect(self.dsn, user=user, dbname=dbname, autocommit=True))

    def write(self, path: str, text: str) -> None:
        """Write a file as the server's own user, through the server, in a container as well."""
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            lines = sql.SQL(", ").join(sql.SQL("({})").format(each) for each in text.splitlines())
            statement = sql.SQL(
                "copy (select * from (values {}) t) to {} with (format csv, quote {}, delimiter {}, escape {})"
            )
            admin.execute(statement.format(lines, path, "\x01", "\x02", "\x01"))

    def configure(self, hba: str, ident: str = "") -> None:
        """Put the document's lines before those by which the test itself comes in."""
        self.write(self.hba, f"{hba}local all postgres trust\nhost all all all trust\n")
        self.write(self.ident, ident or "# none\n")
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute("select pg_reload_conf()")
            errors_found = admin.execute(
                "select error from pg_hba_file_rules where error is not null"
            )
            assert errors_found.fetchall() == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def any_cluster() -> Iterator[str]:
    """Yield the DSN, over TCP, of a server that is this module's alone."""
    image = os.environ.get("PGBACKGROUND_TEST_IMAGE")
    if image:
        from tests.images.containers import running  # noqa: PLC0415

        with running(int(image)) as dsn:
            yield dsn
        return
    port = free_port()
    with LocalServer(settings={"listen_addresses": "127.0.0.1", "port": port}) as server:
        text = "host all all 127.0.0.1/32 trust\nlocal all all trust\n"
        (server.data / "pg_hba.conf").write_text(text)
        yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give a server with the product in a database and the login role of the document."""
    with any_cluster() as dsn:
        with psycopg.connect(dsn, autocommit=True) as admin:
            hba, ident = admin.execute(
                "select current_setting('hba_file'), current_setting('ident_file')"
            ).fetchall()[0]
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        made = Cluster(dsn, hba, ident)
        install(psycopg.conninfo.make_conninfo(dsn, dbname=DATABASE))
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"create role {APP} login password '{PASSWORD}'")
            admin.execute(f"grant pgbackground_role to {APP}")
        yield made


@pytest.fixture
def app(cluster: Cluster) -> Iterator[Callable[[], Session]]:
    """Give a function that opens sessions of the document's role; they end with the test."""
    opened: list[Session] = []

    def connect() -> Session:
        opened.append(cluster.connect(APP))
        return opened[-1]

    yield connect
    for session in opened:
        session.close()
    admin = cluster.connect()
    admin.execute("drop server if exists pg_background_loopback cascade")
    admin.execute("delete from background.pg_background_config")
    admin.close()


def works(session: Session) -> bool:
    """Do an inline job and a top-level job run, as whoever launched them?"""
    inline = session.launch("select session_user::text")
    answer = session.result(inline)
    top = session.launch("vacuum pg_description")
    session.await_(top)
    assert session.outcome(top).state == "stopped"
    return answer == [(APP,)]


def refusal(session: Session) -> psycopg.Error:
    with pytest.raises(errors.SqlclientUnableToEstablishSqlconnection) as refused:
        session.launch("select 1")
    return refused.value


def doctor(session: Session, item: str) -> tuple[bool, str, str | None]:
    found: list[Any] = session.rows(
        "select ok, detail, cure from background.pg_background_check() where item = %s", [item]
    )
    assert len(found) == 1
    row: tuple[bool, str, str | None] = found[0]
    return row


def test_workers_log_in_by_trust(cluster: Cluster, app: Callable[[], Session]) -> None:
    cluster.configure(block("trust pg_hba.conf"))
    assert works(app())


def test_workers_log_in_by_peer_with_a_map(cluster: Cluster, app: Callable[[], Session]) -> None:
    hba = block("peer pg_hba.conf")
    cluster.configure(hba)
    assert "Peer authentication failed" in str(refusal(app()).diag.message_detail)
    major = app().connection.info.server_version // 10000
    version = "16" if major >= IDENT_KNOWS_MEMBERS else "15"
    cluster.configure(hba, block(f"peer pg_ident.conf {version}"))
    assert works(app())


def test_workers_log_in_by_scram_with_a_user_mapping(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("scram pg_hba.conf"))
    assert "password" in str(refusal(app()).diag.message_detail)
    admin = cluster.connect()
    admin.execute(block("scram sql"))
    assert works(app())
    admin.execute(
        f"alter user mapping for {APP} server pg_background_loopback options (set password 'wrong')"
    )
    assert "password authentication failed" in str(refusal(app()).diag.message_detail)
    admin.close()


def test_a_password_in_a_mapping_is_not_shown_to_others(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("scram pg_hba.conf"))
    admin = cluster.connect()
    admin.execute(block("scram sql").replace(f"for {APP} ", "for public "))
    session = app()
    assert works(session)
    for view in ("pg_user_mappings", "background.pg_background_jobs", "pg_stat_activity"):
        assert PASSWORD not in str(session.rows(f"select * from {view}"))
    admin.execute(f"alter role {APP} password 'another'")
    error = refusal(app())
    assert PASSWORD not in str(error) + str(error.diag.message_detail) + str(error.diag.context)
    admin.execute(f"alter role {APP} password '{PASSWORD}'")
    admin.close()


def test_workers_log_in_by_scram_with_a_password_file(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("passfile pg_hba.conf"))
    refusal(app())
    admin = cluster.connect()
    path = str(Path(cluster.hba).with_name("pg_background.pgpass"))
    cluster.write(path, block("passfile file"))
    admin.execute("create extension if not exists plpython3u")
    admin.execute(f"do language plpython3u $$ import os; os.chmod({path!r}, 0o600) $$")
    setup = block("passfile sql")
    assert PASSFILE in setup
    admin.execute(setup.replace(PASSFILE, path))
    assert works(app())
    admin.close()


def test_a_refused_login_is_told_with_the_servers_reason_and_the_cure(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(f"local all {APP} reject\n")
    error = refusal(app())
    assert f'could not log in as "{APP}"' in str(error.diag.message_primary)
    assert "pg_hba.conf rejects connection" in str(error.diag.message_detail)
    assert "pg_background_check()" in str(error.diag.message_hint)


def test_what_the_doctor_advises_against_a_refused_login_helps(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("trust pg_hba.conf"))
    admin = cluster.connect()
    session = app()
    admin.execute(f'revoke connect on database "{DATABASE}" from public')
    assert "permission denied for database" in str(refusal(session).diag.message_detail)
    ok, detail, cure = doctor(admin, f"login of {APP}")
    assert (ok, cure) == (False, f'grant connect on database "{DATABASE}" to {APP}')
    assert "permission denied for database" in detail
    admin.execute(cure or "")
    assert doctor(admin, f"login of {APP}")[0]
    assert works(app())
    admin.execute(f'grant connect on database "{DATABASE}" to public')
    admin.close()


def test_the_lines_that_the_doctor_prints_let_the_worker_in(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(f"local all {APP} reject\n")
    admin = cluster.connect()
    ok, detail, cure = doctor(admin, f"login of {APP}")
    assert not ok
    assert "rejects connection" in detail
    lines = (cure or "").splitlines()
    hba = lines[lines.index("In pg_hba.conf, before the other lines:") + 1]
    start = lines.index("In pg_ident.conf:") + 1
    ident = "\n".join(lines[start : lines.index("Then: select pg_reload_conf()")])
    cluster.configure(f"{hba}\n", f"{ident}\n")
    assert doctor(admin, f"login of {APP}")[0]
    assert works(app())
    admin.close()


def test_the_doctor_tells_a_user_of_his_own_logins_only(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("trust pg_hba.conf"))
    items = app().rows(
        "select item from background.pg_background_check() where item like 'login of %'"
    )
    assert items == [(f"login of {APP}",)]


def test_the_doctor_leaves_no_connection_behind(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("trust pg_hba.conf"))
    session = app()
    session.rows("select * from background.pg_background_check()")
    session.rows("select * from background.pg_background_check()")
    admin = cluster.connect()
    admin.execute("grant execute on function dblink_get_connections() to app")
    assert session.value("select dblink_get_connections()") is None
    admin.execute("revoke execute on function dblink_get_connections() from app")
    admin.close()


def test_a_role_at_its_connection_limit_is_told_that_no_connection_is_left(
    cluster: Cluster, app: Callable[[], Session]
) -> None:
    cluster.configure(block("trust pg_hba.conf"))
    admin = cluster.connect()
    admin.execute(f"alter role {APP} connection limit 1")
    with pytest.raises(errors.TooManyConnections) as refused:
        app().launch("select 1")
    assert "too many connections for role" in str(refused.value.diag.message_detail)
    admin.execute(f"alter role {APP} connection limit -1")
    admin.close()
