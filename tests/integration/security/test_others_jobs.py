"""What can be seen of other people's work, replayed word for word, opens none of their jobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.session import Session

Connect = Callable[..., Session]
SECRET = "a secret of bob"  # noqa: S105
JOB = f"select '{SECRET}'"
# Commands to the registry prove themselves by their own text, which the worker's own user sees in pg_stat_activity.


def replayed(session: Session, texts: set[str]) -> str:
    """Run texts in a session; return all that it was told."""
    told = ""
    session.execute("set statement_timeout = '2s'")
    for text in sorted(texts):
        try:
            told += str(session.connection.execute(text.encode()).fetchall())
        except psycopg.Error as error:
            told += str(error)
    return told


def seen_by(session: Session) -> set[str]:
    """Return the texts of other sessions' commands that a session is shown."""
    rows = session.rows(
        "select query from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database() and query ~* '^ *(select|call|with)'"
    )
    return {text for (text,) in rows}


def bobs_function(admin: Session, owner: str) -> None:
    """Make a function of bob, for everybody, that runs a job of his and reads what comes of it."""
    admin.execute(
        f"""
        create function public.count_for_me() returns pg_catalog.int8
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $f$
        declare
            job background.pg_background_handle;
            n int8;
        begin
            job := background.pg_background_launch($job${JOB}$job$);
            perform background.pg_background_wait(job.pid, job.cookie);
            perform background.pg_background_outcome(job.pid, job.cookie);
            select count(*) into n from background.pg_background_result(job.pid, job.cookie) as (t text);
            return n;
        end $f$;
        alter function public.count_for_me() owner to {owner}
        """
    )


@pytest.fixture
def bob(roles: Roles) -> str:
    """Give a plain role with a secret."""
    return roles.create("bob")


def test_the_caller_of_a_function_reads_nothing_of_its_owners_jobs(
    admin: Session, connect: Connect, roles: Roles, bob: str
) -> None:
    bobs_function(admin, bob)
    alice = roles.create("alice")
    victim, watcher = connect(alice), connect(alice)
    texts: set[str] = set()
    victim.execute("begin isolation level repeatable read")
    assert victim.value("select public.count_for_me()") == 1
    texts |= seen_by(watcher)
    victim.execute("commit")
    # What bob has written himself may be shown where he shows it; she may not come to read it.
    assert SECRET not in replayed(watcher, {text for text in texts if SECRET not in text})


def test_who_monitors_reads_nothing_of_a_superusers_jobs(
    admin: Session, connect: Connect, roles: Roles
) -> None:
    name = roles.create("monitor")
    roles.grant("pg_monitor", name)
    monitor = connect(name)
    job = admin.launch(f"{JOB} as secret")
    admin.finished(job)
    admin.execute("begin isolation level repeatable read")
    assert admin.outcome(job).state == "stopped"
    texts = seen_by(monitor)
    admin.execute("commit")
    assert SECRET not in replayed(monitor, {text for text in texts if SECRET not in text})


def test_what_a_member_could_read_he_cannot_once_he_is_none(
    admin: Session, connect: Connect, roles: Roles, bob: str
) -> None:
    alice = roles.create("alice")
    roles.grant(bob, alice)
    owner, member, watcher = connect(bob), connect(alice), connect(alice)
    job = owner.launch(JOB)
    owner.finished(job)
    member.execute("begin isolation level repeatable read")
    assert member.outcome(job).state == "stopped"
    texts = seen_by(watcher)
    member.execute("commit")
    member.close()
    admin.execute(f"revoke {bob} from {alice}")
    assert SECRET not in replayed(watcher, {text for text in texts if SECRET not in text})


def test_a_handle_and_all_that_pg_locks_shows_open_no_job(
    admin: Session, connect: Connect, roles: Roles, bob: str, gate: Gate
) -> None:
    owner, stranger = connect(bob), connect(roles.create("alice"))
    job = owner.launch(f"{gate.sql}; {JOB}")
    gate.arrived()
    keys = stranger.rows(
        "select distinct (classid::int8 << 32) | objid::int8 from pg_locks where locktype = 'advisory'"
    )
    assert keys
    numbers = [job.pid, job.cookie, 0, *(key for (key,) in keys)]
    # Every function that she may call, with all that she has, in every order.
    callable_ = stranger.rows(
        """
        select p.oid::regprocedure::text, p.proname::text,
               array(select format_type(t, null) from unnest(p.proargtypes) t)
          from pg_proc p
         where p.pronamespace in ('background'::regnamespace, 'pgbackground'::regnamespace) and p.prokind = 'f'
           and has_function_privilege(p.oid, 'execute')
           and p.prorettype <> 'record'::regtype and cardinality(p.proargtypes) between 1 and 3
        """
    )
    assert len(callable_) > 10
    stranger.execute("set statement_timeout = '1s'")
    called = 0
    for _, name, types in callable_:
        choices = [
            [f"{n}::{kind}" for n in numbers if kind == "bigint" or n < 2**31]
            if kind in ("integer", "bigint")
            else [f"null::{kind}"]
            for kind in types
        ]
        for arguments in itertools.product(*choices):
            try:
                told = str(
                    stranger.rows(f"select * from background.{name}({', '.join(arguments)})")
                )
                called += 1
            except psycopg.Error as error:
                told = str(error)
            assert SECRET not in told, name
    assert called > 10
    gate.open()
    assert owner.finished(job).state == "stopped"
    assert admin.rows("select state from background.pg_background_jobs") == [("stopped",)]
