"""Who and how a queued job is: its launcher's role, settings and label, whoever starts it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.queues import limit, states, use_queue
from tests.integration.session import Handle, Session

WHO = "select current_user::text, session_user::text, current_setting('role')"


@pytest.fixture(autouse=True)
def full(launcher: Session, gate: Gate) -> Handle:
    """Fill the launcher's house, which has one place, with a job that waits at the gate."""
    use_queue(launcher, 1)
    job = launcher.launch(gate.sql)
    gate.arrived()
    return job


@pytest.fixture
def other(roles: Roles, app: str) -> str:
    """Give a role that the launcher's may take."""
    name = roles.create("other")
    roles.grant(name, app)
    return name


def who(session: Session, job: Handle) -> tuple[str, ...]:
    """Return current_user, session_user and the setting role that a job saw."""
    row: tuple[str, ...] = session.result(job, "c text, s text, r text")[0]
    return row


@pytest.mark.parametrize("timeout", ["0", "20s"], ids=["in place", "over a link"])
def test_a_queued_job_keeps_the_settings_of_its_launcher_at_the_time_of_launch(
    launcher: Session, gate: Gate, timeout: str
) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{timeout}'")
    launcher.execute("set app.tenant = 'blue'; set work_mem = '7MB'; set timezone = 'Asia/Tokyo'")
    launcher.execute("set search_path = pg_catalog, public")
    job = launcher.launch(
        "select current_setting('app.tenant'), current_setting('work_mem'),"
        " current_setting('timezone'), current_setting('search_path')"
    )
    plain = launcher.launch("select current_setting('application_name')", label="of the queue")
    launcher.execute("set app.tenant = 'red'; reset work_mem; reset timezone; reset search_path")
    after = launcher.launch("select current_setting('app.tenant'), current_setting('timezone')")
    assert (job.pid, plain.pid, after.pid) == (0, 0, 0)
    gate.open()
    columns = "a text, b text, c text, d text"
    assert launcher.result(job, columns) == [("blue", "7MB", "Asia/Tokyo", "pg_catalog, public")]
    assert launcher.result(plain, "a text") == [("pg_background [of the queue]",)]
    assert launcher.result(after, "a text, b text")[0][0] == "red"
    assert launcher.result(after, "a text, b text")[0][1] != "Asia/Tokyo"
    assert launcher.outcome(plain).label == "of the queue"


@pytest.mark.parametrize("timeout", ["0", "20s"], ids=["in place", "over a link"])
def test_a_queued_job_has_the_role_that_its_launcher_had_set(
    launcher: Session, gate: Gate, app: str, other: str, timeout: str
) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{timeout}'")
    before = launcher.launch(WHO)
    launcher.execute(f"set role {other}")
    use_queue(launcher)
    job = launcher.launch(WHO)
    launcher.execute("reset role")
    after = launcher.launch(WHO)
    assert (before.pid, job.pid, after.pid) == (0, 0, 0)
    gate.open()
    assert who(launcher, before) == (app, app, "none")
    assert who(launcher, job) == (other, app, other)
    assert who(launcher, after) == (app, app, "none")
    assert launcher.job(job)["role"] == other


def test_a_link_that_queued_a_job_of_a_set_role_does_not_keep_that_role(
    launcher: Session, gate: Gate, app: str, other: str, full: Handle
) -> None:
    launcher.execute(f"set role {other}")
    queued = launcher.launch("select 1")
    assert queued.pid == 0
    launcher.execute("reset role")
    gate.open()
    launcher.wait(full)
    launcher.wait(queued)
    launcher.execute("set pg_background.max_workers = 10")
    jobs = [launcher.launch(WHO) for _ in range(4)]
    assert {who(launcher, job) for job in jobs} == {(app, app, "none")}


def test_the_session_that_kept_a_time_out_does_not_keep_the_role(
    launcher: Session, gate: Gate, app: str, other: str
) -> None:
    gate.open()
    launcher.execute("set pg_background.max_workers = 10")
    launcher.execute(f"set role {other}; set pg_background.worker_timeout = '20s'")
    for _ in range(3):
        launcher.wait(launcher.launch("vacuum"), 0)
        launcher.wait(launcher.launch("select 1"))
    launcher.execute("reset role; reset pg_background.worker_timeout")
    jobs = [launcher.launch(WHO) for _ in range(4)]
    assert {who(launcher, job) for job in jobs} == {(app, app, "none")}


def test_a_job_queued_in_a_security_definer_function_runs_as_its_owner(
    launcher: Session, admin: Session, gate: Gate, roles: Roles
) -> None:
    owner = roles.create("owner")
    admin.execute(
        "create function public.as_owner() returns background.pg_background_handle"
        " language sql security definer as"
        f" $$ select background.pg_background_launch($q${WHO}$q$) $$;"
        f" alter function public.as_owner() owner to {owner}"
    )
    # Limits per session count each login of a session by itself.
    limit(admin, "database", 1)
    job = Handle(*launcher.rows("select (h).pid, (h).cookie from public.as_owner() h")[0])
    assert job.pid == 0
    gate.open()
    admin.until_ended(job)
    assert who(admin, job) == (owner, owner, "none")


@pytest.mark.parametrize("timeout", ["0", "20s"], ids=["in place", "over a link"])
def test_a_queued_job_whose_set_role_was_revoked_ends_with_an_error_and_blocks_nobody(
    launcher: Session, admin: Session, gate: Gate, app: str, other: str, timeout: str
) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{timeout}'")
    launcher.execute(f"set role {other}")
    revoked = launcher.launch("select 1")
    launcher.execute("reset role")
    following = launcher.launch("select 2")
    admin.execute(f"revoke {other} from {app}")
    gate.open()
    assert admin.until_ended(following).state == "stopped"
    ended = admin.until_ended(revoked)
    assert (ended.state, ended.sqlstate) == ("error", "42501")


def test_queued_jobs_of_a_dropped_role_end_with_an_error_and_block_nobody(
    connect: Callable[..., Session], roles: Roles, admin: Session, launcher: Session, gate: Gate
) -> None:
    limit(admin, "database", 1)
    gone = roles.create("gone")
    leaver = connect(gone)
    use_queue(leaver)
    orphans = [leaver.launch("select 1"), leaver.launch("vacuum")]
    following = launcher.launch("select 2")
    assert [job.pid for job in (*orphans, following)] == [0, 0, 0]
    leaver.close()
    admin.execute(f"drop owned by {gone}; drop role {gone}")
    roles.created.remove(gone)
    gate.open()
    assert admin.until_ended(following).state == "stopped"
    for orphan in orphans:
        ended = admin.until_ended(orphan)
        assert (ended.state, ended.sqlstate) == ("error", "42704")
        assert "does not exist" in (ended.error_message or "")


def test_a_queued_job_whose_login_is_refused_ends_with_the_servers_reason_and_blocks_nobody(
    connect: Callable[..., Session], roles: Roles, admin: Session, launcher: Session, gate: Gate
) -> None:
    limit(admin, "database", 1)
    locked_out = roles.create("locked_out")
    leaver = connect(locked_out)
    use_queue(leaver)
    refused = leaver.launch("select 1")
    following = launcher.launch("select 2")
    leaver.close()
    admin.execute(f"alter role {locked_out} nologin")
    gate.open()
    assert admin.until_ended(following).state == "stopped"
    ended = admin.until_ended(refused)
    assert (ended.state, ended.sqlstate) == ("error", "08001")
    assert "is not permitted to log in" in (admin.error_info(refused)["detail"] or "")
    with pytest.raises(psycopg.OperationalError, match="could not log in"):
        admin.result(refused)


def test_a_role_without_a_connection_left_does_not_hold_back_the_others(
    connect: Callable[..., Session], roles: Roles, admin: Session, launcher: Session, gate: Gate
) -> None:
    limit(admin, "database", 1)
    crowded = roles.create("crowded", options="connection limit 5")
    session = connect(crowded)
    use_queue(session)
    waits = session.launch("select 1")
    session.close()
    following = launcher.launch("select 2")
    admin.execute(f"alter role {crowded} connection limit 0")
    gate.open()
    assert admin.until_ended(following).state == "stopped"
    assert states(admin, waits) == ["queued"]
    admin.execute(f"alter role {crowded} connection limit 5")
    assert admin.wait(waits)
    assert admin.outcome(waits).state == "stopped"
