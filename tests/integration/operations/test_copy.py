"""A copy of a database: who is told of the jobs that came with it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import eventually
from tests.integration.session import Handle, Session
from tools.servers import Server

PRIVATE = "only for its owner"
READ = (
    "select r.cookie, r.rows::text from pgbackground.visible_rows r",
    "select m.cookie, m.message from pgbackground.visible_message m",
)


@pytest.fixture
def jobs(connect: Callable[..., Session], app: str) -> tuple[Handle, Handle]:
    """Give a job with a row and one with a message."""
    session = connect(app)
    row = session.launch(f"select '{PRIVATE}'")
    message = session.launch(f"do $$ begin raise notice '{PRIVATE}'; commit; end $$")
    for job in (row, message):
        assert session.wait(job)
    session.close()
    return row, message


def read(server: Server, name: str, user: str) -> list[tuple[int, str]]:
    """Read all rows and messages that a role is shown in a database."""
    with psycopg.connect(server.dsn(name, user, password=user), autocommit=True) as connection:
        return [row for query in READ for row in connection.execute(query)]


def test_rows_and_messages_are_the_owners_by_name_where_oids_mean_other_roles(
    server: Server,
    db: Database,
    admin: Session,
    roles: Roles,
    app: str,
    jobs: tuple[Handle, Handle],
) -> None:
    # Its oid stays in the registry, and means another name from here on.
    stranger, owner = unique_name("stranger"), app
    admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [app]
    )
    eventually(lambda: not admin.rows("select from pg_stat_activity where usename = %s", [app]))
    dbname = db.name
    db.close()
    with server.database(unique_name("copy"), dbname) as copy:
        server.execute(
            psycopg.sql.SQL("alter role {} rename to {}").format(
                *map(psycopg.sql.Identifier, (owner, stranger))
            )
        )
        server.execute(
            psycopg.sql.SQL("alter role {0} password {1}").format(
                psycopg.sql.Identifier(stranger), psycopg.sql.Literal(stranger)
            )
        )
        roles.created.append(stranger)
        server.execute(
            psycopg.sql.SQL("create role {0} login password {1}").format(
                psycopg.sql.Identifier(owner), psycopg.sql.Literal(owner)
            )
        )
        roles.grant("pgbackground_role", owner)
        assert read(server, copy, stranger) == []
        shown = read(server, copy, owner)
        assert [cookie for cookie, _ in shown] == [job.cookie for job in jobs]
        assert all(PRIVATE in text for _, text in shown)
        # In the original the oid is what counts.
        assert len(read(server, dbname, stranger)) == len(jobs)
        assert read(server, dbname, owner) == []
