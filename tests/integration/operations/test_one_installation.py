"""One installation a database; sessions that are open while it is removed and installed again go on working."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database
from tests.integration.operations.removal import files, run, schemas
from tests.integration.operations.test_installation import objects
from tests.integration.session import Session
from tools.product import EXTENSION
from tools.servers import Server


def test_the_same_version_over_itself_is_refused_and_changes_nothing(
    server: Server, db: Database, tmp_path: Path, admin: Session
) -> None:
    admin.execute("insert into background.pg_background_limits values ('database', null, 7)")
    before = objects(server, db.name, "background")
    with pytest.raises(errors.DuplicateObject) as refused:
        run(server, db.name, files(tmp_path).install)
    assert "already installed in this database, in schema background" in str(refused.value)
    assert "uninstall.sql" in str(refused.value.diag.message_hint)
    assert objects(server, db.name, "background") == before
    assert admin.rows("select scope, name, max_workers from background.pg_background_limits") == [
        ("database", None, 7)
    ]


def test_a_second_installation_in_another_schema_is_refused(
    server: Server, db: Database, tmp_path: Path
) -> None:
    with pytest.raises(errors.DuplicateObject) as refused:
        run(server, db.name, files(tmp_path, "elsewhere").install)
    assert "already installed in this database, in schema background" in str(refused.value)
    assert "pgbackground_role" in str(refused.value.diag.message_hint)
    assert "elsewhere" not in schemas(server, db.name)


@pytest.mark.usefixtures("extension_folder")
@pytest.mark.parametrize("schema", ["background", "elsewhere"])
def test_the_extension_beside_an_installation_by_psql_is_refused(
    server: Server, db: Database, schema: str
) -> None:
    with psycopg.connect(server.dsn(db.name), autocommit=True) as connection:
        connection.execute(sql.SQL(f"create schema if not exists {schema}"))
        with pytest.raises(errors.DuplicateObject, match="already installed in this database"):
            connection.execute(sql.SQL(f"create extension {EXTENSION} schema {schema}"))


@pytest.mark.usefixtures("extension_folder")
def test_an_installation_by_psql_beside_the_extension_is_refused(
    server: Server, bare: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute("create schema background")
        connection.execute(sql.SQL(f"create extension {EXTENSION} schema background cascade"))
        for schema in ("background", "elsewhere"):
            with pytest.raises(errors.DuplicateObject, match="already installed in this database"):
                run(server, bare, files(tmp_path, schema).install)


def test_a_function_of_a_user_that_is_named_like_ours_stops_no_installation(
    server: Server, bare: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute(
            "create function public.pg_background_check() returns int4 language sql as 'select 1'"
        )
    run(server, bare, files(tmp_path).install)
    assert "background" in schemas(server, bare)


def test_open_sessions_go_on_working_with_the_same_version_installed_anew(
    server: Server, db: Database, tmp_path: Path, launcher: Session, observer: Session
) -> None:
    texts = files(tmp_path)
    for session in (launcher, observer):
        # Modules, plans and a warm link are there.
        assert session.result(session.launch("select 'before'")) == [("before",)]
        assert session.call("run", "select 1", 0, 0, None)[0][2] == "stopped"
    old = launcher.launch("select 'of before'")
    launcher.wait(old)
    run(server, db.name, texts.uninstall)
    run(server, db.name, texts.install)
    for session in (launcher, observer):
        job = session.launch("select 'after'", label="new")
        assert session.result(job) == [("after",)]
        assert session.outcome(job).state == "stopped"
        assert session.call("run", "select 1", 0, 0, None)[0][2] == "stopped"
        top = session.launch("vacuum pg_description")
        session.await_(top)
        assert session.outcome(top).state == "stopped"
        failed = session.launch("select 1/0")
        assert session.finished(failed).sqlstate == "22012"
        sleeper = session.launch("select pg_sleep(60)")
        session.cancel(sleeper)
        assert session.finished(sleeper).state == "canceled"
        labels = [label for *_, label in session.listed()]
        assert labels.count("new") == 1
    assert (
        observer.rows(
            "select cookie from background.pg_background_jobs where cookie = %s", [old.cookie]
        )
        == []
    )
    # Nothing is known of it, or its worker has gone on to another job.
    with pytest.raises((errors.UndefinedObject, errors.ObjectNotInPrerequisiteState)):
        launcher.result(old)
    assert old.cookie not in [cookie for _, cookie, *_ in launcher.listed()]
