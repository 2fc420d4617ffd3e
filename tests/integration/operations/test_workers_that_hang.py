"""A worker that does not answer keeps no session waiting, and a wait for it can be canceled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.integration.session import Session, elapsed_ms
from tools.servers import Server

JOBS = "select count(*) from background.pg_background_jobs"


@contextmanager
def stopped(server: Server, pid: int) -> Iterator[None]:
    """Stop a process of the server for a while."""
    if server.local is None:
        pytest.skip("processes are stopped on a local server only")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def idle_worker(launcher: Session) -> int:
    """Launch a job and return the pid of its worker, which idles."""
    job = launcher.launch("select 1")
    launcher.wait(job)
    launcher.until_idle(job.pid)
    return job.pid


def test_an_idle_worker_that_is_stopped_is_replaced(launcher: Session, server: Server) -> None:
    pid = idle_worker(launcher)
    with stopped(server, pid):
        since = time.monotonic()
        job = launcher.launch("select 1")
        assert elapsed_ms(since) < 8000
        assert job.pid != pid
        assert launcher.finished(job).state == "stopped"
    launcher.until_gone(pid)
    assert launcher.value(JOBS) == 2, "what the stopped worker was sent was not done later"


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_a_statement_timeout_ends_a_launch_that_waits_for_a_stopped_worker(
    launcher: Session, server: Server, length: int
) -> None:
    pid = idle_worker(launcher)
    launcher.execute("set statement_timeout = '200ms'")
    with stopped(server, pid):
        since = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            launcher.launch(f"select 1 --{'x' * length}")
        assert elapsed_ms(since) < 1500
    launcher.execute("reset statement_timeout")
    launcher.until_gone(pid)
    assert launcher.value(JOBS) == 1
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_cancel_serves_while_the_sessions_own_worker_is_stopped(
    launcher: Session, observer: Session, server: Server
) -> None:
    job = observer.launch("select pg_sleep(600)")
    with stopped(server, idle_worker(launcher)):
        launcher.cancel(job)
    assert observer.finished(job).state == "canceled"


def test_a_change_of_the_limits_that_is_not_committed_stalls_nobody(
    launcher: Session, admin: Session
) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', null, 5)")
    admin.execute("begin")
    admin.execute("update background.pg_background_limits set max_workers = 0")
    admin.execute("insert into background.pg_background_limits values ('database', null, 0)")
    since = time.monotonic()
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
    assert elapsed_ms(since) < 3000
    admin.execute("commit")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        launcher.launch("select 1")


def test_a_lock_on_the_limits_keeps_a_launch_no_longer_than_its_statement_timeout(
    launcher: Session, admin: Session
) -> None:
    worker = idle_worker(launcher)
    admin.execute("begin")
    admin.execute("lock table background.pg_background_limits")
    launcher.execute("set statement_timeout = '300ms'")
    since = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        launcher.launch("select 1")
    assert elapsed_ms(since) < 2000
    admin.execute("rollback")
    launcher.until_gone(worker)
    assert launcher.value(JOBS) == 1, "the launch that was given up leaves no job"
    launcher.execute("reset statement_timeout")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
