"""What ended a job is told as what it is, also at its record and where the server ends the worker."""

from __future__ import annotations

import pytest

from tests.integration.session import Session

FULL = """
create function public.no_room() returns trigger language plpgsql as
$$ begin raise exception using errcode = '53100', message = 'no space left on device'; end $$"""


def test_no_room_for_the_record_is_the_jobs_error_and_undoes_it(
    launcher: Session, admin: Session
) -> None:
    launcher.execute("create table t (n int4)")
    admin.execute(FULL)
    admin.execute(
        "create trigger no_room before update on pgbackground.job for each row"
        " when (new.state = 'stopped') execute function public.no_room()"
    )
    outcome = launcher.finished(launcher.launch("insert into t values (1)"))
    assert (outcome.state, outcome.sqlstate) == ("error", "53100")
    assert launcher.value("select count(*) from t") == 0


def test_no_room_for_the_rows_of_a_job_that_reads_only_is_its_error(
    launcher: Session, admin: Session
) -> None:
    admin.execute(FULL)
    admin.execute(
        "create trigger no_room before insert on pgbackground.job_rows for each row"
        " execute function public.no_room()"
    )
    launcher.execute("set default_transaction_read_only = on")
    outcome = launcher.finished(launcher.launch("select 1"))
    assert (outcome.state, outcome.sqlstate) == ("error", "53100")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_time_out_at_the_record_is_told_as_one(
    launcher: Session, admin: Session, isolation: str
) -> None:
    admin.execute(
        "create function public.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(60); return new; end $$"
    )
    admin.execute(
        "create trigger slow before update on pgbackground.job for each row"
        " when (new.state = 'stopped') execute function public.slow()"
    )
    launcher.execute(f"set default_transaction_isolation = '{isolation}'")
    launcher.execute("set pg_background.worker_timeout = '100ms'")
    job = launcher.launch("select 1")
    assert launcher.finished(job).sqlstate == "57014"
    assert launcher.job(job)["timed_out"] is True
    assert launcher.error_info(job)["context"], "recorded by the worker itself"


def test_a_transaction_timeout_of_the_launcher_is_told_as_the_jobs_time_out(
    launcher: Session,
) -> None:
    if launcher.connection.info.server_version < 170000:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    launcher.execute("set transaction_timeout = '200ms'")
    job = launcher.launch("select pg_sleep(60)")
    launcher.execute("reset transaction_timeout")
    assert launcher.finished(job).sqlstate == "57014"
    assert launcher.job(job)["timed_out"] is True
