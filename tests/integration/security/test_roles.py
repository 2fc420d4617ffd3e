"""A launch leaves the session's role as it was, takes none that was taken away, and cancels nobody greater."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import errors

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.session import Session

Connect = Callable[..., Session]
WHO = "select session_user::text, current_user::text"
WHO_COLUMNS = "login text, role text"


@pytest.fixture
def team(roles: Roles, app: str) -> str:
    """Give a role that the plain role may take."""
    name = roles.create("team")
    roles.grant(name, app)
    return name


def role_of(session: Session) -> str:
    role: str = session.value("select current_user::text")
    return role


def owned_by(admin: Session, owner: str, name: str, body: str, options: str = "") -> None:
    """Make a function of a role, which everybody may call and which returns a handle."""
    admin.execute(
        f"create function public.{name}() returns background.pg_background_handle"
        f" language plpgsql {options} as $body$ {body} $body$;"
        f" alter function public.{name}() owner to {owner}"
    )


def test_set_local_role_ends_with_its_transaction_also_after_a_launch(
    launcher: Session, team: str, app: str
) -> None:
    with launcher.connection.transaction():
        launcher.execute(f"set local role {team}")
        job = launcher.launch(WHO)
        assert role_of(launcher) == team
    assert role_of(launcher) == app
    assert launcher.result(job, WHO_COLUMNS) == [(app, team)]


def test_set_local_role_ends_with_its_savepoint_also_after_a_launch(
    launcher: Session, team: str, app: str
) -> None:
    with launcher.connection.transaction():
        launcher.execute(f"savepoint s; set local role {team}")
        launcher.launch("select 1")
        launcher.execute("rollback to s")
        assert role_of(launcher) == app
    assert role_of(launcher) == app


def test_a_role_that_was_set_for_the_session_stays(launcher: Session, team: str) -> None:
    launcher.execute(f"set role {team}")
    with launcher.connection.transaction():
        launcher.launch("select 1")
    assert role_of(launcher) == team
    launcher.launch("select 1")
    assert role_of(launcher) == team


def test_a_function_that_sets_a_role_leaves_the_session_in_its_own(
    admin: Session, launcher: Session, team: str, app: str
) -> None:
    owned_by(
        admin,
        app,
        "as_team",
        f"begin return background.pg_background_launch('{WHO}'); end",
        f"set role = {team}",
    )
    job = launcher.rows("select (h).pid, (h).cookie from public.as_team() h")[0]
    assert role_of(launcher) == app
    launcher.execute("select background.pg_background_wait(%s, %s)", job)
    assert launcher.rows(
        "select * from background.pg_background_result(%s, %s) as (login text, role text)", job
    ) == [(app, team)]


def test_the_other_verbs_leave_the_role_alone_as_well(
    launcher: Session, team: str, app: str
) -> None:
    with launcher.connection.transaction():
        launcher.execute(f"set local role {team}")
        job = launcher.submit("select 1")
        launcher.finished(job)
        launcher.call("run", "select 1")
        launcher.cancel(job)
        launcher.call("purge")
        launcher.call("check")
    assert role_of(launcher) == app


def test_a_role_that_was_taken_away_after_set_role_gets_no_job(
    admin: Session, launcher: Session, team: str, app: str
) -> None:
    launcher.execute(f"set role {team}")
    admin.execute(f"revoke {team} from {app}")
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.launch(WHO)
    assert admin.value("select count(*) from background.pg_background_jobs") == 0


def test_nor_over_a_link_that_served_it_before(
    admin: Session, launcher: Session, team: str, app: str
) -> None:
    launcher.execute(f"set role {team}")
    assert launcher.result(launcher.launch(WHO), WHO_COLUMNS) == [(app, team)]
    admin.execute(f"revoke {team} from {app}")
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.launch(WHO)


def test_a_role_that_was_taken_away_and_renamed_gets_no_job_either(
    admin: Session, launcher: Session, team: str, app: str, roles: Roles
) -> None:
    launcher.execute(f"set role {team}")
    renamed = f"{team}_renamed"
    admin.execute(f"revoke {team} from {app}; alter role {team} rename to {renamed}")
    roles.created[roles.created.index(team)] = renamed
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.launch(WHO)


def test_a_renamed_role_that_the_session_still_has_is_set_as_before(
    admin: Session, launcher: Session, team: str, app: str, roles: Roles
) -> None:
    launcher.execute(f"set role {team}")
    renamed = f"{team}_renamed"
    admin.execute(f"alter role {team} rename to {renamed}")
    roles.created[roles.created.index(team)] = renamed
    assert launcher.result(launcher.launch(WHO), WHO_COLUMNS) == [(app, renamed)]


def test_a_superuser_who_is_none_any_longer_lends_no_role(
    admin: Session, connect: Connect, roles: Roles
) -> None:
    fallen, other = roles.create("fallen", options="superuser"), roles.create("other")
    session = connect(fallen)
    session.execute(f"set role {other}")
    admin.execute(f"alter role {fallen} nosuperuser")
    with pytest.raises(errors.InsufficientPrivilege):
        session.launch(WHO)


@pytest.fixture
def operator(connect: Connect, roles: Roles) -> Session:
    """Give a session of a plain role that may signal other people's sessions."""
    name = roles.create("operator")
    roles.grant("pg_signal_backend", name)
    return connect(name)


@pytest.mark.parametrize("grace", [0, 100])
def test_who_may_signal_sessions_does_not_cancel_a_superusers_job(
    admin: Session, operator: Session, gate: Gate, grace: int
) -> None:
    job = admin.launch(f"{gate.sql}; select 7")
    gate.arrived()
    with pytest.raises(errors.InsufficientPrivilege):
        operator.cancel(job, grace)
    gate.open()
    assert admin.finished(job).state == "stopped"


def test_nor_in_a_transaction_that_sees_the_registry_as_it_was(
    admin: Session, operator: Session, gate: Gate
) -> None:
    job = admin.launch(f"{gate.sql}; select 7")
    gate.arrived()
    operator.execute("begin isolation level repeatable read")
    with pytest.raises(errors.InsufficientPrivilege):
        operator.cancel(job)
    operator.execute("rollback")
    gate.open()
    assert admin.finished(job).state == "stopped"


def test_nor_one_that_a_superuser_runs_under_a_plain_role(
    admin: Session, operator: Session, app: str, gate: Gate
) -> None:
    admin.execute(f"set role {app}")
    job = admin.launch(f"{gate.sql}; select 7")
    gate.arrived()
    with pytest.raises(errors.InsufficientPrivilege):
        operator.cancel(job)
    gate.open()
    assert admin.finished(job).state == "stopped"


def test_nor_one_that_a_superuser_has_queued(admin: Session, operator: Session, gate: Gate) -> None:
    admin.execute("set pg_background.max_workers = 1; set pg_background.when_full = queue")
    admin.launch(gate.sql)
    gate.arrived()
    queued = admin.launch("select 7")
    assert queued.pid == 0
    with pytest.raises(errors.InsufficientPrivilege):
        operator.cancel(queued)
    gate.open()
    assert admin.finished(queued).state == "stopped"


def test_but_it_cancels_a_plain_roles_job(launcher: Session, operator: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    operator.cancel(job)
    assert launcher.finished(job).state == "canceled"


def test_a_superuser_cancels_everybodys_job(admin: Session, launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    admin.cancel(job)
    assert launcher.finished(job).state == "canceled"


def test_who_calls_a_superusers_function_does_not_cancel_what_it_has_launched(
    admin: Session, operator: Session, gate: Gate
) -> None:
    owned_by(
        admin,
        "postgres",
        "dba_job",
        f"begin return background.pg_background_launch('{gate.sql}; select 7'); end",
        "security definer",
    )
    operator.execute("select public.dba_job()")
    gate.arrived()
    operator.call("cancel_all")
    operator.call("cancel_by_label", "%")
    operator.call("detach_all")
    gate.open()
    pid, cookie = admin.rows("select pid, cookie from background.pg_background_jobs")[0]
    assert admin.call("wait", pid, cookie) == [(True,)]
    assert admin.rows("select state from background.pg_background_jobs") == [("stopped",)]
