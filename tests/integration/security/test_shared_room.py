"""What one user can hold, replay or fill up never stops the launches, cancels, time-outs and results of others.

The attacks name nothing of ours: they take what pg_stat_activity and pg_locks show to the attacker, and the functions
that pg_proc says he may execute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import use_queue
from tests.integration.security import locks
from tests.integration.session import Session, elapsed_ms

Connect = Callable[..., Session]

LATE_MS = 3000
# Everything that the attacker's other sessions have said, as he may read it.
OVERHEARD = """
    select distinct query from pg_stat_activity
     where usename = session_user and pid <> pg_backend_pid() and query ~ 'background' and query !~ 'pg_stat_activity'
"""
FUNCTIONS = """
    select p.oid::regprocedure::text, p.prokind = 'p', p.proretset,
           array(select format_type(t, null) from unnest(p.proargtypes) t)::text[]
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
     where n.nspname not in ('pg_catalog', 'information_schema', 'public')
       and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
       and p.prorettype <> 'trigger'::regtype and p.prokind in ('f', 'p')
     order by 1
"""


@pytest.fixture
def alice(connect: Connect) -> Session:
    """Give a session of the attacker."""
    return connect(application_name="alice")


@pytest.fixture
def bob(connect: Connect, roles: Roles) -> Session:
    """Give a session of another plain role, which has nothing to do with the attacker."""
    session = connect(roles.create("bob"), application_name="bob")
    session.execute("set statement_timeout = '8s'")
    return session


def launches_in_time(session: Session) -> None:
    """Launch, wait and read, quickly."""
    began = time.monotonic()
    assert session.result(session.launch("select 'done'")) == [("done",)]
    assert elapsed_ms(began) < LATE_MS


def numbers_in(texts: list[str]) -> list[int]:
    """The numbers in what was overheard that may be keys."""
    found = {int(each) for text in texts for each in re.findall(r"\b\d{6,19}\b", text)}
    return sorted(number for number in found if number < 1 << 63)


def words_in(texts: list[str]) -> list[str]:
    """The literals in what was overheard that may be proofs."""
    return sorted({each for text in texts for each in re.findall(r"'([^']{16,})'", text)})


def until_another_waits_for(watcher: Session, holder: Session) -> None:
    """Wait until some process stands before a lock of the holder's, if any ever does."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if watcher.value(
            "select exists (select from pg_locks l where not l.granted and %s = any (pg_blocking_pids(l.pid)))",
            [holder.pid],
        ):
            return


def test_whoever_takes_every_key_he_sees_of_his_queued_jobs_stops_no_launch_of_others(
    alice: Session, bob: Session, connect: Connect, admin: Session, gate: Gate
) -> None:
    launches_in_time(bob)
    use_queue(alice, 1)
    alice.launch(gate.sql)
    gate.arrived()
    queued = [alice.launch("select 1") for _ in range(2)]
    assert [job.pid for job in queued] == [0, 0]
    squatter = connect(application_name="squatter")
    texts = [row[0] for row in squatter.rows(OVERHEARD)]
    gate_keys = {locks.arguments(*row) for row in squatter.rows(locks.OTHERS)}
    for number in numbers_in(texts):
        key = f"{number}::int8"
        if key not in gate_keys:
            squatter.execute(f"select pg_try_advisory_lock({key})")
    gate.open()
    until_another_waits_for(admin, squatter)
    launches_in_time(bob)


# Writes down what the attacker's other sessions say, as fast as it can, for some seconds.
LISTEN = """
    do $do$
    declare stop timestamptz := clock_timestamp() + interval '3 seconds';
    begin
        while clock_timestamp() < stop loop
            insert into overheard {} on conflict do nothing;
            commit;
            perform pg_stat_clear_snapshot();
        end loop;
    end $do$
"""
# A job that says again, for a second and in its own transaction, all that was overheard, and then stays.
SAY_AGAIN = """
    do $do$
    declare
        stop timestamptz := clock_timestamp() + interval '1 second';
        said text;
    begin
        while clock_timestamp() < stop loop
            for said in delete from overheard returning query loop
                begin
                    execute said;
                exception when others then
                    null;
                end;
            end loop;
            perform pg_sleep(0.01);
        end loop;
    end $do$;
    {}
"""


def test_what_a_worker_was_told_stops_no_launch_of_others_when_its_job_says_it_again(
    alice: Session, bob: Session, connect: Connect, gate: Gate, admin: Session
) -> None:
    launches_in_time(bob)
    alice.execute("create table overheard (query text primary key)")
    use_queue(alice, 1)
    alice.execute("set pg_background.worker_timeout = '1h'")
    listener = connect(application_name="listener")
    for _ in range(10):
        alice.execute("truncate overheard")
        first = alice.launch(gate.sql)
        assert first.pid
        gate.arrived()
        second = alice.launch(SAY_AGAIN.format(gate.sql))
        assert second.pid == 0
        listener.connection.pgconn.send_query(LISTEN.format(OVERHEARD).encode())
        alice.cancel(first)
        assert eventually(lambda second=second: admin.job(second)["state"] == "running")  # type: ignore[misc]
        gate.arrived()
        launches_in_time(bob)
        gate.open()
        alice.wait(second, LATE_MS)
        gate.close()
        assert listener.connection.pgconn.get_result() is not None
        assert listener.connection.pgconn.get_result() is None


def test_proofs_overheard_and_given_in_an_open_transaction_hold_up_no_cancel(
    alice: Session, connect: Connect, admin: Session, gate: Gate
) -> None:
    alice.execute("set pg_background.worker_timeout = '1h'")
    replayer = connect(application_name="replayer")
    replayer.execute("set statement_timeout = '1s'")
    dba = admin.connection.pgconn
    for name, types in takers_of_numbers_and_words(replayer):
        job = alice.launch(gate.sql)
        gate.arrived()
        texts = [row[0] for row in replayer.rows(OVERHEARD)]
        replayer.execute("begin")
        say_everything(replayer, name, types, [job.cookie, *numbers_in(texts)], words_in(texts))
        dba.send_query(
            f"select background.pg_background_cancel({job.pid}, {job.cookie}, 500)".encode()
        )
        try:
            eventually(lambda: is_done(dba), LATE_MS / 1000)
        finally:
            replayer.execute("rollback")
        while dba.get_result() is not None:
            pass
        assert admin.wait(job, LATE_MS)


def is_done(connection: psycopg.pq.abc.PGconn) -> bool:
    """Has the command that was sent ended?"""
    connection.consume_input()
    return not connection.is_busy()


def takers_of_numbers_and_words(session: Session) -> list[tuple[str, list[str]]]:
    """The functions that this user may call with a number and a text, and the types of their arguments."""
    return [
        (signature.partition("(")[0], types)
        for signature, is_procedure, _, types in session.rows(FUNCTIONS)
        if not is_procedure and {"bigint", "text"} <= set(types)
    ]


def say_everything(
    session: Session, name: str, types: list[str], numbers: list[int], words: list[str]
) -> None:
    """Call a function with every number and every word, in the transaction that is open."""
    for number in numbers:
        for word in words:
            values = {"bigint": f"{number}::int8", "text": f"$w${word}$w$", "boolean": "true"}
            given = ", ".join(values.get(each, f"null::{each}") for each in types)
            try:
                with session.connection.transaction():
                    session.execute(f"select {name}({given})")
            except psycopg.Error:
                continue


def test_many_jobs_of_one_user_do_not_push_out_the_unread_result_of_another(
    alice: Session, bob: Session, admin: Session
) -> None:
    admin.execute("insert into background.pg_background_config values ('max_history', '20')")
    unread = bob.launch("select 'unread'")
    assert bob.wait(unread)
    alice.execute(
        "do $do$ declare h background.pg_background_handle; begin for i in 1 .. 550 loop"
        " h := background.pg_background_launch('select 1');"
        " perform background.pg_background_wait(h.pid, h.cookie); end loop; end $do$"
    )
    assert bob.result(unread) == [("unread",)]
    kept = admin.value("select count(*) from background.pg_background_jobs")
    assert kept < 300, "there was something to be pushed out"
