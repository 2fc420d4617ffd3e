"""The rights that PostgreSQL's own roles have on everything reach no row of the product's tables."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate
from tests.integration.session import Session
from tools.product import find_psql

Connect = Callable[..., Session]
SECRET = "hush hush"  # noqa: S105
RELATIONS = """
    select oid::regclass::text from pg_class
     where relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
       and relkind = any (%s::"char"[]) order by 1
"""
# Refused by right, by row security, by a view's own check, because a view takes no rows, or a column no value.
REFUSALS = ("42501", "44000", "55000", "0A000", "428C9")


def member_of(roles: Roles, connect: Connect, *groups: str) -> Session:
    name = roles.create("member")
    for group in groups:
        roles.grant(group, name)
    return connect(name)


def tables(admin: Session) -> list[str]:
    return [name for (name,) in admin.rows(RELATIONS, [["r", "p"]])]


@pytest.fixture
def full(admin: Session) -> Session:
    """Give the superuser's session; the tables hold jobs, rows, messages, limits and choices."""
    job = admin.launch(f"select '{SECRET}'", label=SECRET)
    admin.finished(job)
    vacuum = admin.launch("vacuum (verbose) pg_class", label=SECRET)
    admin.finished(vacuum)
    admin.execute(
        "insert into background.pg_background_limits values ('role', null, 7);"
        f" insert into background.pg_background_config values ('conninfo', 'password={SECRET}')"
        " on conflict (name) do update set value = excluded.value"
    )
    return admin


def fate(session: Session, statement: str) -> int | str | None:
    """Return how many rows a statement changed, or the SQLSTATE with which it was refused."""
    try:
        return session.execute(statement).rowcount
    except psycopg.Error as error:
        return error.sqlstate


def counts(admin: Session) -> list[tuple[str, int]]:
    return [(name, admin.value(f"select count(*) from {name}")) for name in tables(admin)]


def contents(admin: Session) -> str:
    return str([admin.rows(f"select t::text from {name} t order by 1") for name in tables(admin)])


@pytest.mark.parametrize("groups", [("pg_read_all_data",), ("pg_monitor", "pg_read_all_data")])
def test_who_may_read_all_data_reads_no_row_of_ours(
    full: Session, roles: Roles, connect: Connect, groups: tuple[str, ...]
) -> None:
    reader = member_of(roles, connect, *groups)
    assert sum(number for _, number in counts(full)) > 5
    for name in tables(full):
        assert reader.rows(f"select * from {name}") == [], name
    for (view,) in full.rows(RELATIONS, [["v", "m"]]):
        assert SECRET not in str(reader.rows(f"select * from {view}")), view
    for name in tables(full):
        with reader.connection.cursor() as cursor, cursor.copy(f"copy {name} to stdout") as out:
            assert list(out) == [], name


def test_who_monitors_reads_the_numbers_and_nothing_else(
    full: Session, roles: Roles, connect: Connect
) -> None:
    monitor = member_of(roles, connect, "pg_monitor")
    for name in tables(full):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            monitor.execute(f"select * from {name}")
    assert SECRET not in str(monitor.rows("select * from background.pg_background_jobs"))
    assert monitor.rows("select * from background.pg_background_metrics")


def test_who_may_write_all_data_changes_no_row_of_ours(
    full: Session, roles: Roles, connect: Connect
) -> None:
    writer = member_of(roles, connect, "pg_write_all_data", "pg_read_all_data")
    before = contents(full)
    for (name,) in full.rows(RELATIONS, [["r", "p", "v"]]):
        column = full.value(
            "select quote_ident(attname) from pg_attribute where attrelid = %s::regclass and attnum = 1",
            [name],
        )
        for statement in (
            f"insert into {name} default values",
            f"insert into {name} overriding system value select * from {name}",
            f"update {name} set {column} = default",
            f"update {name} set {column} = {column}",
            f"delete from {name}",
        ):
            assert fate(writer, statement) in (0, *REFUSALS), statement
    assert contents(full) == before


def test_who_may_write_all_data_sends_nobodys_login_elsewhere(
    admin: Session, roles: Roles, connect: Connect
) -> None:
    writer = member_of(roles, connect, "pg_write_all_data")
    for statement in (
        "insert into background.pg_background_config values ('conninfo', 'host=/tmp/elsewhere')",
        "insert into background.pg_background_limits values ('role', null, 0)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute(statement)
    assert admin.finished(admin.launch("select 1")).state == "stopped"


def test_who_may_write_all_data_raises_nobodys_limit(
    admin: Session, launcher: Session, roles: Roles, connect: Connect, gate: Gate
) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', null, 1)")
    writer = member_of(roles, connect, "pg_write_all_data")
    launcher.launch(gate.sql)
    gate.arrived()
    for (name,) in admin.rows(RELATIONS, [["S"]]):
        fate(writer, f"select setval('{name}', 1000)")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        launcher.launch("select 1")


def test_copying_into_our_tables_is_refused_as_well(
    full: Session, roles: Roles, connect: Connect
) -> None:
    writer = member_of(roles, connect, "pg_write_all_data", "pg_read_all_data")
    for name in tables(full):
        with (
            pytest.raises(psycopg.Error) as refused,
            writer.connection.cursor() as cursor,
            cursor.copy(f"copy {name} from stdin") as into,
        ):
            into.write("\\N\n")
        assert refused.value.sqlstate in REFUSALS, name


def test_a_superuser_reads_writes_and_dumps_them_as_before(full: Session, db: Database) -> None:
    full.execute("update background.pg_background_limits set max_workers = 8")
    assert full.rows("select max_workers from background.pg_background_limits") == [(8,)]
    statement = "copy background.pg_background_limits (scope, name, max_workers) from stdin"
    with full.connection.cursor() as cursor, cursor.copy(statement) as into:
        into.write("session\t\\N\t9\n")
    dump = Path(find_psql()).with_name("pg_dump")
    if not dump.exists():
        pytest.skip("no pg_dump beside psql")
    run = subprocess.run(
        [str(dump), "--data-only", "--schema=background", "--schema=pgbackground", db.dsn],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"select '{SECRET}'" in run.stdout
    assert "session\t\\N\t9" in run.stdout


def test_the_doctor_finds_a_table_that_others_can_read(admin: Session, roles: Roles) -> None:
    def ailing() -> set[str]:
        return {item for item, ok, *_ in admin.call("check") if not ok}

    healthy = ailing()
    nobody = roles.create("nobody", member=False)
    for name in tables(admin):
        admin.execute(f"grant select on {name} to {nobody}")
        assert ailing() > healthy, name
        admin.execute(
            f"revoke select on {name} from {nobody}; alter table {name} disable row level security"
        )
        assert ailing() > healthy, name
        admin.execute(f"alter table {name} enable row level security")
    assert ailing() == healthy


def test_the_doctors_cure_takes_the_right_away(admin: Session, roles: Roles) -> None:
    nobody = roles.create("nobody", member=False)
    name = tables(admin)[0]
    admin.execute(f"grant all on {name} to {nobody}; alter table {name} disable row level security")
    cures = {cure for item, ok, _, cure in admin.call("check") if not ok and name in str(cure)}
    assert cures
    for cure in cures:
        admin.execute(cure)
    assert not [cure for _, ok, _, cure in admin.call("check") if not ok and name in str(cure)]


def test_the_doctor_finds_a_function_that_others_were_given(admin: Session, roles: Roles) -> None:
    nobody = roles.create("nobody", member=False)
    before = [row for row in admin.call("check") if not row[1]]
    admin.execute(f"grant execute on all functions in schema pgbackground to {nobody}")
    after = [row for row in admin.call("check") if not row[1]]
    assert len(after) > len(before)
    assert any(nobody in str(row) for row in after)
