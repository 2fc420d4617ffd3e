"""cron.sql is installed, refused and removed; nothing of others is ever dropped."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import eventually
from tests.integration.operations.removal import run
from tests.integration.operations.test_installation import EXTENSION, everything
from tests.integration.schedule.cron_names import NEVER, file, install_cron, said
from tests.integration.security.test_matrix import find_dump
from tests.integration.session import Session
from tools.product import build, install, run_sql_file
from tools.servers import Server


def test_it_may_be_run_again_and_keeps_what_depends_on_it(admin: Session, tmp_path: Path) -> None:
    install_cron(admin, tmp_path)
    admin.execute("create view public.mine as select jobname from cron.job")
    admin.execute("select cron.schedule('job', %s, 'select 1')", [NEVER])
    install_cron(admin, tmp_path)
    assert admin.rows("select * from public.mine") == [("job",)]


def test_it_needs_the_product(server: Server, bare: str, tmp_path: Path) -> None:
    with pytest.raises(errors.UndefinedObject, match="is not installed in schema background"):
        run(server, bare, file(tmp_path))


def test_it_goes_with_another_schema(
    server: Server, bare: str, tmp_path: Path, roles: Roles
) -> None:
    install(server.dsn(bare), "Back ground-2")
    run_sql_file(server.dsn(bare), build(tmp_path, "Back ground-2").with_name("cron.sql"))
    user = roles.create()
    with psycopg.connect(server.dsn(bare, user, user), autocommit=True) as connection:
        session = Session(connection)
        session.execute("select cron.schedule('job', %s, 'select 1')", [NEVER])
        assert session.value("select cron.unschedule('job')") is True


def test_a_schema_cron_of_somebody_else_is_left_alone(
    db: Database, admin: Session, roles: Roles, server: Server, tmp_path: Path
) -> None:
    role = roles.create()
    admin.execute(f"create schema cron authorization {role}")
    before = everything(server, db.name)
    with pytest.raises(errors.DuplicateSchema, match="not of pg_background_plpy"):
        run(server, db.name, file(tmp_path))
    assert everything(server, db.name) == before
    # Nor is one trusted that has taken the place of ours.
    admin.execute("drop schema cron")
    install_cron(admin, tmp_path)
    admin.execute("drop schema cron cascade")
    admin.execute(f"create schema cron authorization {role}")
    with pytest.raises(errors.DuplicateSchema, match="not of pg_background_plpy"):
        run(server, db.name, file(tmp_path))


def test_it_takes_a_superuser(db: Database, roles: Roles, tmp_path: Path) -> None:
    user = Session(db.connect(roles.create()))
    with pytest.raises(errors.InsufficientPrivilege):
        user.connection.execute(sql.SQL(file(tmp_path)))


def test_nothing_is_for_public_and_everything_has_a_comment(
    admin: Session, roles: Roles, tmp_path: Path
) -> None:
    role = roles.create("stranger", member=False)
    for kind in ("schemas", "tables", "functions"):
        admin.execute(f"alter default privileges grant all on {kind} to {role}, public")
    install_cron(admin, tmp_path)
    granted = admin.rows("""
        select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end
          from (select coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl, n.nspowner as owner
                  from pg_namespace n where n.nspname = 'cron'
                union all
                select coalesce(c.relacl, acldefault('r', c.relowner)), c.relowner from pg_class c
                 where c.relnamespace = 'cron'::regnamespace
                union all
                select coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner from pg_proc p
                 where p.pronamespace = 'cron'::regnamespace
                    or p.pronamespace = 'pgbackground'::regnamespace and p.proname ~ 'cron') o, aclexplode(o.acl) a
         where a.grantee <> o.owner""")
    assert granted == [("pgbackground_role",)]
    assert not admin.value(
        "select has_function_privilege('pgbackground_role', 'pgbackground.remove_cron()', 'execute')"
    )
    bare_objects = admin.rows("""
        select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'cron'::regnamespace
           and (obj_description(p.oid, 'pg_proc') is null or p.proconfig is null or p.prosecdef)
        union all
        select c.oid::regclass::text from pg_class c
         where c.relnamespace = 'cron'::regnamespace
           and (obj_description(c.oid, 'pg_class') is null
                or c.reloptions is distinct from '{security_barrier=true}')""")
    assert bare_objects == []


def test_it_is_removed_by_itself_and_the_schedules_stay(
    admin: Session, db: Database, server: Server, tmp_path: Path
) -> None:
    before = everything(server, db.name)
    install_cron(admin, tmp_path)
    assert everything(server, db.name) != before
    admin.execute("select cron.schedule('job', %s, 'select 1')", [NEVER])
    for create, drop, name in (
        (
            "create view public.mine as select * from cron.job",
            "view public.mine",
            "view public.mine",
        ),
        ("create table cron.notes (note text)", "table cron.notes", "table cron.notes"),
    ):
        admin.execute(create)
        with pytest.raises(errors.DependentObjectsStillExist) as refused:
            admin.execute("select pgbackground.remove_cron()")
        assert name in (refused.value.diag.message_detail or "")
        admin.execute(f"drop {drop}")
    admin.execute("select pgbackground.remove_cron()")
    assert everything(server, db.name) == before
    assert admin.value("select name from background.pg_background_schedules") == "job"


def test_uninstall_takes_it_along_or_says_what_is_in_the_way(
    server: Server, bare: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        admin = Session(connection)
        admin.execute("create extension plpython3u")
        admin.execute("create extension dblink")
        before = everything(server, bare)
        install(server.dsn(bare))
        install_cron(admin, tmp_path)
        admin.execute("create view public.mine as select jobname from cron.job")
        with_it = everything(server, bare)
        uninstall = file(tmp_path, "uninstall.sql")
        with pytest.raises(errors.DependentObjectsStillExist) as refused:
            run(server, bare, uninstall)
        assert "view public.mine" in (refused.value.diag.message_detail or "")
        assert everything(server, bare) == with_it
        admin.execute("drop view public.mine")
        run(server, bare, uninstall)
        assert everything(server, bare) == before


def test_uninstall_says_who_uses_it(
    server: Server, db: Database, admin: Session, tmp_path: Path
) -> None:
    install_cron(admin, tmp_path)
    reader = Session(db.connect(autocommit=False))
    reader.execute("select * from cron.job")
    with pytest.raises(errors.ObjectInUse, match="is in use") as refused:
        run(server, db.name, file(tmp_path, "uninstall.sql"), "-c lock_timeout=300ms")
    assert f"session of PID {reader.pid}" in (refused.value.diag.message_detail or "")


def test_a_reader_who_comes_while_it_is_removed_is_not_deadlocked_with(
    db: Database, admin: Session, tmp_path: Path
) -> None:
    install_cron(admin, tmp_path)
    remover, reader = Session(db.connect(autocommit=False)), Session(db.connect())
    remover.execute("select pgbackground.prepare_removal(5000)")
    refusals: list[psycopg.Error] = []

    def read() -> None:
        try:
            reader.execute("select * from cron.job")
        except psycopg.Error as error:
            refusals.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    waits = "select %s = any (pg_blocking_pids(%s))"
    eventually(lambda: admin.value(waits, [remover.pid, reader.pid]))
    remover.execute("select pgbackground.remove_cron()")
    remover.connection.commit()
    thread.join()
    assert [error.sqlstate for error in refusals] == ["42P01"]


@pytest.mark.usefixtures("extension_folder")
def test_beside_the_extension_it_is_removed_first(
    server: Server, bare: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        admin = Session(connection)
        admin.execute("create extension plpython3u")
        admin.execute("create extension dblink")
        before = everything(server, bare)
        admin.execute("create schema background")
        admin.execute(f"create extension {EXTENSION} schema background")
        install_cron(admin, tmp_path)
        assert said(admin, f"drop extension {EXTENSION}").startswith("2BP01")
        run(server, bare, file(tmp_path, "uninstall.sql"))
        admin.execute("drop schema if exists background")
        assert everything(server, bare) == before


def test_a_dump_brings_it_along(
    server: Server, db: Database, admin: Session, tmp_path: Path, roles: Roles
) -> None:
    install_cron(admin, tmp_path)
    command = [find_dump(db), "-d", db.dsn]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    dump = tmp_path / "dump.sql"
    dump.write_text(text)
    user = roles.create()
    with server.database(unique_name("restored"), "template0") as restored:
        run_sql_file(server.dsn(restored), dump)
        with psycopg.connect(server.dsn(restored, user, user), autocommit=True) as connection:
            session = Session(connection)
            session.execute("select cron.schedule('job', %s, 'select 1')", [NEVER])
            assert session.rows("select jobname from cron.job") == [("job",)]
        run(server, restored, file(tmp_path, "uninstall.sql"))
