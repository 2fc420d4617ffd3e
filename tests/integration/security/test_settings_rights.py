"""Settings travel with the rights of whoever set them, and say the same on the other side."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fix_db import Roles
from tests.integration.session import Handle, Session

Connect = Callable[..., Session]
# A library that is part of PostgreSQL; its settings are for superusers.
LIBRARY = "auto_explain"
SETTING = "auto_explain.log_min_duration"
AS_LOADED = f"load '{LIBRARY}'; select current_setting('{SETTING}')"


def job_of_the_dba(admin: Session, caller: Session, text: str) -> Handle:
    """Have a plain role call a superuser's function that launches a job."""
    admin.execute(
        f"""
        create function public.dba_job() returns background.pg_background_handle
        language plpgsql security definer set search_path = pg_catalog as
        $f$ begin return background.pg_background_launch($job${text}$job$); end $f$
        """
    )
    return Handle(*caller.rows("select (h).pid, (h).cookie from public.dba_job() h")[0])


def test_a_setting_that_nobody_has_declared_is_not_lent_a_superusers_rights(
    admin: Session, launcher: Session
) -> None:
    launcher.execute(f"set {SETTING} = 0")
    job = job_of_the_dba(admin, launcher, AS_LOADED)
    assert admin.result(job) == [("-1",)]


def test_nor_by_a_job_that_waited_in_the_queue(admin: Session, launcher: Session) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', 'postgres', 0)")
    launcher.execute(f"set {SETTING} = 0; set pg_background.when_full = queue")
    job = job_of_the_dba(admin, launcher, AS_LOADED)
    assert job.pid == 0
    admin.execute("delete from background.pg_background_limits")
    assert admin.result(job) == [("-1",)]


def test_nor_by_a_job_at_top_level(admin: Session, launcher: Session) -> None:
    admin.execute(
        f"""
        create table public.said (value text);
        create procedure public.say() language plpgsql as $$
        begin
            commit;
            load '{LIBRARY}';
            insert into public.said values (current_setting('{SETTING}'));
        end $$
        """
    )
    launcher.execute(f"set {SETTING} = 0")
    job = job_of_the_dba(admin, launcher, "call public.say()")
    assert admin.finished(job).error_message is None
    assert admin.rows("select value from public.said") == [("-1",)]


def test_nor_by_code_of_others_that_a_superuser_runs_as_them(
    admin: Session, app: str, connect: Connect
) -> None:
    admin.execute(
        f"""
        create function public.harmless() returns int4 language plpgsql security definer as
        $f$ begin perform set_config('{SETTING}', '0', false); return 1; end $f$;
        alter function public.harmless() owner to {app}
        """
    )
    dba = connect("postgres")
    dba.execute("select public.harmless()")
    # What the server itself does with it in the session, it does in the job.
    assert dba.result(dba.launch(AS_LOADED)) == [("-1",)]


def test_settings_that_are_declared_travel_into_a_function_owners_job(
    admin: Session, launcher: Session
) -> None:
    launcher.execute("set work_mem = '7777kB'")
    job = job_of_the_dba(admin, launcher, "select current_setting('work_mem')")
    assert admin.result(job) == [("7777kB",)]


def test_ones_own_settings_travel_declared_or_not(launcher: Session) -> None:
    launcher.execute("set app.tenant = 'blue'")
    for _ in range(2):
        assert launcher.result(launcher.launch("select current_setting('app.tenant')")) == [
            ("blue",)
        ]


def test_a_tenant_that_a_function_of_another_role_has_set_travels(
    admin: Session, launcher: Session, roles: Roles
) -> None:
    owner = roles.create("owner")
    admin.execute(
        f"""
        create function public.set_tenant(text) returns text language sql security definer as
        $f$ select set_config('app.tenant', $1, false) $f$;
        alter function public.set_tenant(text) owner to {owner}
        """
    )
    launcher.execute("select public.set_tenant('blue')")
    assert launcher.result(launcher.launch("select current_setting('app.tenant')")) == [("blue",)]


@pytest.mark.parametrize("encoding", ["latin1", "win1252", "sjis", "gb18030", "sql_ascii"])
def test_jobs_mean_the_same_whatever_encoding_a_role_likes(
    admin: Session, connect: Connect, app: str, encoding: str
) -> None:
    admin.execute("create table public.kept (n int4, t text); grant all on public.kept to public")
    admin.execute(f"alter role {app} set client_encoding = '{encoding}'")
    session = connect(app, client_encoding="utf8")
    texts = ["é", "ü\\", "\\'", "日本", "ソ'\\ソ", "a\\'); drop table public.kept; --"]
    if encoding in ("latin1", "win1252", "sql_ascii"):
        texts = texts[:3] + texts[5:]
    for number, text in enumerate(texts * 2):
        statement = "insert into public.kept values (" + str(number) + ", $t$" + text + "$t$)"
        job = session.launch(statement, label=text[:5])
        assert session.finished(job).state == "stopped", text
        assert session.call("full_sql", *job) == [(statement,)]
        assert session.outcome(job).label == text[:5]
    assert admin.rows("select t from public.kept order by n") == [(text,) for text in texts * 2]


@pytest.mark.parametrize("encoding", ["latin1", "sjis"])
def test_rows_and_messages_of_a_second_job_come_back_as_they_were(
    admin: Session, connect: Connect, app: str, encoding: str
) -> None:
    admin.execute(f"alter role {app} set client_encoding = '{encoding}'")
    session = connect(app, client_encoding="utf8")
    text = "é" if encoding == "latin1" else "表\\"
    for level in ("read committed", "repeatable read"):
        for _ in range(2):
            session.execute(f"begin isolation level {level}")
            job = session.launch(f"select $t${text}$t$::text")
            session.wait(job)
            assert session.result(job) == [(text,)]
            session.execute("commit")
    job = session.launch(f"do $do$ begin commit; raise notice $t${text}$t$; end $do$")
    session.await_(job)
    assert [row[2] for row in session.call("messages", *job)] == [text]
