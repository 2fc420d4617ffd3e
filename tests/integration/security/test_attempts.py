"""Every kind of role tries to read and to write every table of ours, and sees and changes nothing of others."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
import psycopg.types.json
import pytest

from tests.fix_db import Roles
from tests.integration.session import Handle, Session

Connect = Callable[..., Session]

SECRET = "a secret that nobody else may read"  # noqa: S105
SERVERS_OWN = {
    "monitor": "pg_monitor",
    "reader": "pg_read_all_data",
    "writer": "pg_write_all_data",
    "signaler": "pg_signal_backend",
    "monitoring user": "pg_monitor",
    "reading user": "pg_read_all_data",
    "writing user": "pg_write_all_data",
}
KINDS = ("anon", "user", *SERVERS_OWN)
OURS = """
    select c.oid::regclass::text, c.relkind::text
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname like '%background%' and c.relkind in ('r', 'p', 'v', 'm', 'S')
     order by 1
"""


@pytest.fixture
def victims_job(connect: Connect, roles: Roles, admin: Session) -> Handle:
    """Give the job of another role, with rows, messages, progress and limits beside it."""
    admin.execute("insert into background.pg_background_limits values ('role', 'nobody', 3)")
    admin.execute(
        "insert into background.pg_background_config values ('free_connections', '3')"
        " on conflict (name) do update set value = excluded.value"
    )
    victim = connect(roles.create("victim"))
    talks = victim.launch(f"do $$ begin raise notice '{SECRET}'; commit; end $$")
    job = victim.launch(f"select '{SECRET}'")
    for each in (talks, job):
        assert victim.wait(each)
    assert victim.call("messages", *talks)[0][2] == SECRET
    assert victim.result(job) == [(SECRET,)]
    for each in (talks, job):
        admin.until_idle(each.pid)
    return job


@pytest.fixture
def attacker(connect: Connect, roles: Roles, kind: str) -> Session:
    """Give a session of a role of this kind."""
    name = roles.create(kind.replace(" ", "_"), member=kind.endswith("user"))
    if kind in SERVERS_OWN:
        roles.grant(SERVERS_OWN[kind], name)
    return connect(name)


def everything(admin: Session) -> dict[str, list[Any]]:
    """What stands in all tables of ours."""
    return {
        name: sorted(row[0] or "" for row in admin.rows(f"select t::text from {name} t"))
        for name, kind in admin.rows(OURS)
        if kind in "rp"
    }


def tried(session: Session, statement: str, arguments: Any = None) -> list[tuple[Any, ...]]:
    """What a statement gives, if it is not refused."""
    try:
        cursor = session.execute(statement, arguments)
    except psycopg.Error:
        return []
    return cursor.fetchall() if cursor.description else []


READS_ALL = "pg_read_all_data reads every table of the registry"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_another_roles_jobs_is_read_from_any_table_or_view(
    attacker: Session, admin: Session, victims_job: Handle
) -> None:
    seen = {name: str(tried(attacker, f"select * from {name}")) for name, _ in admin.rows(OURS)}
    telling = [
        name for name, text in seen.items() if SECRET in text or str(victims_job.cookie) in text
    ]
    assert telling == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_table_shows_a_row_to_anybody_but_its_owner(
    attacker: Session, admin: Session, victims_job: Handle
) -> None:
    assert victims_job.cookie
    full = [name for name, kind in admin.rows(OURS) if kind in "rp"]
    assert [name for name in full if tried(attacker, f"select 1 from {name}")] == []


WRITES_ALL = "pg_write_all_data writes every table of the registry"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_changed_in_any_table_or_view(
    attacker: Session, admin: Session, victims_job: Handle
) -> None:
    assert victims_job.cookie
    before = everything(admin)
    for name, kind in admin.rows(OURS):
        if kind == "S":
            continue
        columns = [
            row[0]
            for row in admin.rows(
                "select attname::text from pg_attribute where attrelid = %s::regclass"
                " and attnum > 0 and not attisdropped",
                [name],
            )
        ]
        sample = admin.value(f"select to_jsonb(t) from {name} t limit 1") or {}
        forged = {
            column: random.getrandbits(50) if column in ("cookie", "number") else value
            for column, value in sample.items()
        }
        tried(
            attacker,
            f"insert into {name} overriding system value"
            f" select * from jsonb_populate_record(null::{name}, %s::jsonb) on conflict do nothing",
            [psycopg.types.json.Jsonb(forged)],
        )
        tried(attacker, f"insert into {name} default values")
        for column in columns:
            tried(attacker, f"update {name} set {column} = null")
        if columns:
            tried(attacker, f"update {name} set {columns[-1]} = default")
        tried(attacker, f"delete from {name}")
        tried(attacker, f"truncate {name}")
        tried(attacker, f"merge into {name} t using (select 1) s on true when matched then delete")
    after = everything(admin)
    assert {name for name in before if before[name] != after[name]} == set()


MOVES_ALL = "pg_write_all_data moves every sequence, and row level security does not reach them"


@pytest.mark.parametrize("kind", KINDS)
def test_no_sequence_is_moved(attacker: Session, admin: Session, victims_job: Handle) -> None:
    assert victims_job.cookie
    for name in [name for name, kind in admin.rows(OURS) if kind == "S"]:
        before = admin.rows(f"select last_value, is_called from {name}")
        tried(attacker, f"select setval('{name}', 1)")
        tried(attacker, f"select nextval('{name}')")
        assert admin.rows(f"select last_value, is_called from {name}") == before
