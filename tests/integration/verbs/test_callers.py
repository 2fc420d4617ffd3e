"""Who a job is: plain roles, SET ROLE, SECURITY DEFINER functions; links belong to one login."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.integration.session import Handle, Session

WHO = "select current_user::text, session_user::text"


@pytest.fixture
def other(roles: Roles, app: str) -> str:
    """Give a role that the launcher's may take."""
    name = roles.create("other")
    roles.grant(name, app)
    return name


def who(session: Session, job: Handle) -> tuple[str, str]:
    """Return current_user and session_user that a job saw."""
    row: tuple[str, str] = session.result(job, "c text, s text")[0]
    return row


def test_a_job_runs_as_its_launcher(launcher: Session, app: str, admin: Session) -> None:
    assert who(launcher, launcher.launch(WHO)) == (app, app)
    assert who(admin, admin.launch(WHO)) == ("postgres", "postgres")


def test_after_set_role_the_job_has_that_role_and_can_go_back_as_its_launcher_could(
    launcher: Session, app: str, other: str
) -> None:
    launcher.execute(f"set role {other}")
    job = launcher.launch(WHO)
    assert who(launcher, job) == (other, app)
    assert launcher.job(job)["role"] == other
    back = launcher.launch(f"reset role; {WHO}")
    assert who(launcher, back) == (app, app)
    launcher.execute("reset role")
    assert who(launcher, launcher.launch(WHO)) == (app, app)


def test_the_job_of_a_role_taken_by_set_role_belongs_to_that_role(
    launcher: Session, connect: Callable[..., Session], other: str, roles: Roles
) -> None:
    launcher.execute(f"set role {other}")
    job = launcher.launch("select 1")
    launcher.wait(job)
    assert connect(other).outcome(job).state == "stopped"
    assert connect(roles.create("third")).outcome(job).state is None


def test_a_superuser_who_takes_a_plain_role_runs_jobs_as_it(admin: Session, app: str) -> None:
    admin.execute(f"set role {app}")
    assert who(admin, admin.launch(WHO)) == (app, "postgres")


def test_set_session_authorization_makes_another_launcher(admin: Session, app: str) -> None:
    first = admin.launch(WHO)
    assert who(admin, first) == ("postgres", "postgres")
    admin.execute(f"set session authorization {app}")
    second = admin.launch(WHO)
    assert who(admin, second) == (app, app)
    assert second.pid != first.pid
    admin.execute("reset session authorization")
    third = admin.launch(WHO)
    assert who(admin, third) == ("postgres", "postgres")
    assert third.pid != second.pid


def test_inside_a_security_definer_function_the_job_is_the_owner_s_and_cannot_be_the_caller(
    launcher: Session, connect: Callable[..., Session], admin: Session, other: str, roles: Roles
) -> None:
    owner = connect(other)
    admin.execute(f"grant create on schema public to {other}")
    owner.execute(
        "create function start(text) returns background.pg_background_handle"
        " language sql security definer as"
        " 'select background.pg_background_launch($1)'"
    )
    job = Handle(*launcher.rows("select * from start(%s)", [f"reset role; {WHO}"])[0])
    assert owner.wait(job)
    assert who(owner, job) == (other, other)

    outsider = connect(roles.create("outsider"))
    handle = Handle(*outsider.rows("select * from start(%s)", [WHO])[0])
    owner.wait(handle)
    assert who(owner, handle) == (other, other)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        outsider.result(handle, "c text, s text")


def test_a_security_definer_function_of_the_role_that_its_caller_has_taken_is_confined_as_well(
    launcher: Session, connect: Callable[..., Session], admin: Session, other: str
) -> None:
    admin.execute(f"grant create on schema public to {other}")
    owner = connect(other)
    owner.execute(
        "create function start(text) returns background.pg_background_handle"
        " language sql security definer as"
        " 'select background.pg_background_launch($1)'"
    )
    launcher.execute(f"set role {other}")
    job = Handle(*launcher.rows("select * from start(%s)", [f"reset role; {WHO}"])[0])
    owner.wait(job)
    assert who(owner, job) == (other, other), "the job could become the session's own user"


def test_a_security_definer_function_waits_and_reads_for_its_caller(
    launcher: Session, connect: Callable[..., Session], admin: Session, other: str
) -> None:
    admin.execute(f"grant create on schema public to {other}")
    connect(other).execute(
        "create function counted() returns int8 language plpgsql security definer as $$"
        " declare h background.pg_background_handle; n int8;"
        " begin h := background.pg_background_launch('select count(*) from pg_class');"
        " perform background.pg_background_wait(h.pid, h.cookie);"
        " select * into n from background.pg_background_result(h.pid, h.cookie) as t(n int8);"
        " perform background.pg_background_detach(h.pid, h.cookie); return n; end $$"
    )
    assert launcher.value("select counted()") > 0
    assert launcher.listed() == []


def test_the_worker_of_a_security_definer_function_serves_no_other_job(
    launcher: Session, connect: Callable[..., Session], admin: Session, other: str, app: str
) -> None:
    admin.execute(f"grant create on schema public to {other}")
    owner = connect(other)
    owner.execute(
        "create function start() returns background.pg_background_handle"
        " language sql security definer as"
        " 'select background.pg_background_launch(''select 1'')'"
    )
    job = Handle(*launcher.rows("select * from start()")[0])
    owner.wait(job)
    owner.until_gone(job.pid)
    own = launcher.launch(WHO)
    assert own.pid != job.pid
    assert who(launcher, own) == (app, app)


def test_two_sessions_never_share_a_worker(
    connect: Callable[..., Session], roles: Roles, admin: Session
) -> None:
    names = [roles.create("left"), roles.create("right")]
    seen: dict[str, set[int]] = {name: set() for name in names}
    sessions = {name: connect(name) for name in names}
    for _ in range(10):
        for name, session in sessions.items():
            job = session.launch(WHO)
            assert who(session, job) == (name, name)
            admin.until_idle(job.pid)
            seen[name].add(job.pid)
    assert not set.intersection(*seen.values())


def test_the_backend_of_a_worker_shows_its_launcher_s_login(
    launcher: Session, admin: Session, app: str
) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    backend = admin.backend(job.pid)
    assert backend is not None
    assert backend["usename"] == app
    assert backend["datname"] == admin.connection.info.dbname


def test_a_role_without_the_right_cannot_launch(
    connect: Callable[..., Session], roles: Roles
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(roles.create("nobody", member=False)).launch("select 1")


def test_a_job_cannot_do_what_its_launcher_may_not(launcher: Session, admin: Session) -> None:
    admin.execute("create table private (n int4)")
    job = launcher.launch("select n from private")
    assert launcher.finished(job).sqlstate == "42501"
