"""Whoever calls the internal functions himself, with whatever he could guess or see, gets nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.verbs import Handle, Session

Connect = Callable[..., Session]

# What a direct call of these does, it does with the caller's own rights, to the caller's own session.
HARMLESS = {
    "_all_read": "compares two numbers",
    "_in_english": "lc_messages, for the caller's transaction",
    "_learned": "takes a message apart that the caller wrote himself",
    "_open_query": "launches with the caller's own rights, as the verb does",
    "_probe": "text of a query",
    "_typed_rows": "text of a query",
    "_answer": "rows that the caller wrote himself",
    "_connections_left": "a number that pg_stat_activity tells everybody",
    "_commit": "commits the caller's own transaction, where that is possible",
    "_leave_snapshot": "ends the caller's own transaction; noting a success asks for the job's token",
    "_columns": "names and types of a row that the caller wrote himself",
    "_without_values": "a row that the caller wrote himself",
    "_kind": "a type's kind, as the catalog tells everybody",
    "_apply_settings": "set_config for the caller's session",
    "_as_told": "of a row that the caller wrote himself",
    "_await_lock": "an advisory lock, which everybody may take",
    "_becomes_top_level": "false to those who know not the job's token",
    "_current_settings": "the caller's own settings",
    "_custom_settings": "SHOW ALL",
    "_execute": "SQL with the caller's own rights",
    "_is_overdue": "compares times",
    "_keep_time_outs": "ends what is overdue, as its guard would have",
    "_is_dead": "whether an advisory lock is free",
    "_keep_rows": "SQL with the caller's own rights; storing asks for the job's token",
    "_last_progress": "the caller's own prepared statements",
    "_load": "loads the modules, as every verb does",
    "_guard": "waits; its commands ask for their seals",
    "_next_job": "null to those who know not the token of the worker's last job",
    "_now": "nothing, to those who know not both keys of a job",
    "_perform": "SQL with the caller's own rights; storing asks for the job's token",
    "_plain_literal": "a row as text",
    "_retire_after": "nothing, to those who know not the token of the worker's last job",
    "_rest": "resets the caller's session",
    "_show_all": "SHOW ALL",
    "_start_queued": "starts what waits, as every launch does",
    "_waits_for_me": "pg_blocking_pids, which everybody may call",
}
REGISTRY = (
    "job",
    "job_rows",
    "job_message",
    "seal",
    "pg_background_config",
    "pg_background_limits",
)


@pytest.fixture
def victim(connect: Connect, roles: Roles) -> Session:
    """Give a session of another plain role, whose jobs are to be attacked."""
    return connect(roles.create("victim"))


def registry(admin: Session) -> dict[str, list[Any]]:
    """Everything the product has written down, as text."""
    return {
        table: admin.rows(f"select t::text from background.{table} t order by 1")
        for table in REGISTRY
    }


def assert_only_own_jobs_were_added(
    admin: Session, before: dict[str, list[Any]], attacker: Session
) -> None:
    """Whoever may launch may add jobs of his own, with their rows; nothing else may differ."""
    after = registry(admin)
    for table in ("seal", "pg_background_config", "pg_background_limits"):
        assert after[table] == before[table]
    for table in ("job", "job_rows", "job_message"):
        assert [row for row in before[table] if row not in after[table]] == []
        added = admin.rows(
            f"select distinct j.role::regrole::text from background.{table} t"
            " join background.job j using (cookie) where t::text <> all (%s)",
            [[row[0] for row in before[table]]],
        )
        assert {role for (role,) in added} <= {attacker.value("select user")}


def internals(admin: Session) -> list[tuple[str, bool, str, list[str]]]:
    """Every routine that is no verb: name, is it strict, kind, and types of its input arguments."""
    return admin.rows(
        """
        select p.proname::text, p.proisstrict, p.prokind::text,
               array(select format_type(t, null) from unnest(p.proargtypes) t)::text[]
          from pg_proc p
         where p.pronamespace = 'background'::regnamespace and p.proname like '\\_%'
         order by 1
        """
    )


def forged_calls(admin: Session, job: Handle) -> list[tuple[str, str]]:
    """Calls of every internal routine with what an attacker may know: name and statement."""
    row = admin.rows(
        "select cookie, lock_key, pid from background.job where cookie = %s", [job.cookie]
    )[0]
    digest = "'" + "0" * 64 + "'"
    guesses = {
        "bigint": [str(row[0]), str(row[1])],
        "integer": [str(row[2])],
        "text": [digest, "'select 1'"],
        "text[]": ["array['x']"],
        "uuid": ["gen_random_uuid()"],
        "oid": ["10"],
        "boolean": ["true"],
    }
    calls = []
    for name, strict, kind, types in internals(admin):
        verb = "call" if kind == "p" else "select"
        for choice in range(2):
            values = [(guesses.get(each, ["null"]) * 2)[choice] for each in types]
            arguments = ", ".join(
                f"{value}::{each}" for value, each in zip(values, types, strict=True)
            )
            calls.append((name, f"{verb} background.{name}({arguments})"))
        nulls = ", ".join(f"null::{each}" for each in types)
        if not strict:
            # A strict function of null is null for everybody: the planner does not even ask for it.
            calls.append((name, f"{verb} background.{name}({nulls})"))
    return calls


def test_forged_calls_of_internal_functions_change_nothing(
    admin: Session, victim: Session, launcher: Session
) -> None:
    job = victim.launch("select 'a secret'", label="a label")
    victim.wait(job)
    mine = launcher.launch("select 1")
    launcher.wait(mine)
    victim.until_idle(job.pid)
    launcher.until_idle(mine.pid)
    before = registry(admin)
    accepted = set()
    told: list[str] = []
    for name, call in forged_calls(admin, job):
        try:
            cursor = launcher.execute(call)
            for row in cursor if cursor.description else []:
                assert "a secret" not in str(row)
                assert "a label" not in str(row)
            accepted.add(name)
        except psycopg.Error as refused:
            told.append(f"{refused.sqlstate} {refused}")
    assert accepted <= set(HARMLESS)
    assert_only_own_jobs_were_added(admin, before, launcher)
    assert not [each for each in told if "a secret" in each or each.startswith("XX000")]


def test_forged_calls_from_a_jobs_own_text_change_nothing(
    admin: Session, victim: Session, launcher: Session
) -> None:
    job = victim.launch("select 'a secret'", label="a label")
    victim.wait(job)
    victim.until_idle(job.pid)
    accepted: set[str] = set()
    before = registry(admin)
    calls = [each for each in forged_calls(admin, job) if each[0] not in ("_rest", "_run")]
    for name, call in calls:
        attack = launcher.launch(
            f"do $do$ begin {call.replace('select', 'perform', 1)}; end $do$"
            if call.startswith("select")
            else call
        )
        launcher.await_(attack)
        if launcher.outcome(attack).state == "stopped":
            accepted.add(name)
        launcher.detach(attack)
    assert accepted <= set(HARMLESS)
    assert_only_own_jobs_were_added(admin, before, launcher)


@pytest.mark.parametrize("own", [True, False])
def test_a_job_cannot_claim_or_record_itself_or_another(
    admin: Session, victim: Session, launcher: Session, gate: Gate, own: bool
) -> None:
    theirs = victim.launch(f"{gate.sql}; select 'theirs'")
    gate.arrived()
    admin.execute("create table cookie (is_now int8); grant select on cookie to public")
    admin.execute("insert into cookie values (%s)", [0 if own else theirs.cookie])
    text = """
        do $do$
        declare c int8; outcome text := '';
        begin
            select is_now into c from cookie;
            if c = 0 then
                select cookie into c from background.pg_background_jobs where state = 'running';
            end if;
            begin
                perform background._claim(c); outcome := outcome || ' claimed';
            exception when insufficient_privilege then null; end;
            begin
                perform background._store_rows(c, gen_random_uuid(), 1, array['(forged)']);
                outcome := outcome || ' stored';
            exception when insufficient_privilege then null; end;
            begin
                perform background._record(c, gen_random_uuid(), 1, null, null, null, null, null, null,
                    null, null, null, null, null);
                outcome := outcome || ' recorded';
            exception when insufficient_privilege then null; end;
            if outcome <> '' then raise exception 'broken:%', outcome; end if;
        end $do$
    """
    attack = launcher.launch(text)
    assert launcher.finished(attack).error_message is None
    assert admin.value("select count(*) from background.job_rows") == 0
    gate.open()
    assert victim.result(theirs) == [("theirs",)]


def test_no_row_that_a_user_can_get_holds_the_token_of_a_job(
    admin: Session, launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    key = admin.value("select lock_key from background.job where cookie = %s", [job.cookie])
    row = launcher.rows("select (n).token from background._now(%s, %s) n", [job.cookie, key])
    assert row == [(None,)]
    seal = admin.value("select background._seal(%s)", [f"look|{job.cookie}"])
    row = launcher.rows("select (n).token from background._look(%s, %s) n", [job.cookie, seal])
    assert row == [(None,)]


def test_a_seal_fits_one_command_for_one_job(
    admin: Session, victim: Session, launcher: Session, gate: Gate
) -> None:
    theirs, mine = victim.launch(gate.sql), launcher.launch(gate.sql)
    gate.arrived(2)
    verbs = {"look": "_look", "cancel": "_cancel", "terminate": "_terminate", "detach": "_detach"}
    for word in verbs:
        seal = admin.value("select background._seal(%s)", [f"{word}|{mine.cookie}"])
        for other, function in verbs.items():
            for cookie in (mine.cookie, theirs.cookie):
                if (other, cookie) == (word, mine.cookie):
                    continue
                with pytest.raises(errors.InsufficientPrivilege):
                    launcher.execute(f"select background.{function}(%s, %s)", [cookie, seal])
    for function in verbs.values():
        with pytest.raises(errors.InsufficientPrivilege):
            launcher.execute(f"select background.{function}(null, null)")
    assert {victim.outcome(theirs).state, launcher.outcome(mine).state} == {"running"}


def test_a_registration_seen_on_its_way_is_of_no_use_in_another_session(
    admin: Session, launcher: Session
) -> None:
    role = admin.value("select %s::regrole::oid", [launcher.value("select current_user::text")])
    worker = launcher.launch("select 1").pid
    types = admin.value(
        "select array(select format_type(t, null) from unnest(proargtypes) t)::text[]"
        " from pg_proc where oid = 'background._register'::regproc"
    )
    known = {"oid": str(role), "integer": str(launcher.pid)}
    values = ["5::int8", "6::int8"]
    values += [f"{known.get(each, 'null')}::{each}" for each in types[2:-1]]

    def register_with_a_seal_for(pid: int) -> str:
        words = f"register|5|6|{launcher.pid}|{role}|{pid}"
        seal = admin.value("select background._seal(%s)", [words])
        try:
            launcher.execute(f"begin; select background._register({', '.join(values)}, '{seal}')")
        except psycopg.Error as refused:
            return refused.sqlstate or ""
        finally:
            launcher.execute("rollback")
        return ""

    assert register_with_a_seal_for(worker) == "42501"
    # The same words for the process that gives them would do: it is the process that counts.
    assert register_with_a_seal_for(launcher.pid) != "42501"


def test_nobody_can_hold_the_lock_on_registration(
    admin: Session, launcher: Session, victim: Session, connect: Connect, gate: Gate
) -> None:
    launcher.execute("set pg_background.max_workers = 1; set pg_background.when_full = 'queue'")
    first, second = launcher.launch(gate.sql), launcher.launch("select 1")
    gate.arrived()
    assert second.pid == 0
    attacker = connect()
    attacker.execute("begin")
    for arguments in ("null, null", f"{first.cookie}, gen_random_uuid()"):
        assert attacker.value(f"select background._next_job({arguments})") is None
    locks = "select count(*) from pg_locks where pid = %s and relation = 'background.registration'::regclass"
    assert admin.value(locks, [attacker.pid]) == 0
    assert victim.finished(victim.launch("select 1")).state == "stopped"
    gate.open()
    assert launcher.finished(second).state == "stopped"


def test_nobody_can_hold_the_lock_on_retirement(
    admin: Session, launcher: Session, connect: Connect
) -> None:
    old = launcher.launch("select 1")
    launcher.wait(old)
    attacker = connect()
    for call in ("_retire()", "_retire(10000)"):
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(f"select background.{call}")
    attacker.execute("begin")
    for cookie in ("null", str(old.cookie)):
        call = f"background._retire_after({cookie}, gen_random_uuid(), 10000)"
        assert attacker.value(f"select {call}") == 0
        job = attacker.launch(f"select {call}")
        assert attacker.result(job, "gone int4") == [(0,)]
    locks = "select count(*) from pg_locks where pid = %s and relation = 'background.retirement'::regclass"
    assert admin.value(locks, [attacker.pid]) == 0
    # The DBA may, and finds nobody in the way.
    admin.execute("insert into background.pg_background_config values ('max_history', '0')")
    assert admin.value("select background._retire(10000)") > 0
    attacker.execute("rollback")


def test_an_executors_seal_is_of_no_use_in_another_session(
    admin: Session, launcher: Session, gate: Gate
) -> None:
    launcher.execute("create table t (id int4)")
    gate.lock_table("t")
    job = launcher.launch("create index concurrently i on t (id)")
    executor = gate.arrived()[0]
    seal = admin.value("select background._seal(%s)", [f"executor|{job.cookie}|{executor}"])
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.execute("select background._executor_starts(%s, %s)", [job.cookie, seal])
    assert launcher.job(job)["executor_pid"] == executor
    # The same words for the process that gives them would do: it is the process that counts.
    seal = admin.value("select background._seal(%s)", [f"executor|{job.cookie}|{launcher.pid}"])
    launcher.execute("begin")
    assert launcher.value("select background._executor_starts(%s, %s)", [job.cookie, seal])
    launcher.execute("rollback")


def test_users_can_read_and_write_none_of_the_tables(admin: Session, launcher: Session) -> None:
    tables = admin.rows(
        "select c.relname::text from pg_class c where c.relkind = 'r'"
        " and c.relnamespace = 'background'::regnamespace"
    )
    assert {name for (name,) in tables} >= set(REGISTRY)
    for (name,) in tables:
        for statement in ("select from {}", "delete from {}", "insert into {} default values"):
            with pytest.raises(errors.InsufficientPrivilege):
                launcher.execute(statement.format(f"background.{name}"))
            job = launcher.launch(statement.format(f"background.{name}"))
            assert launcher.finished(job).sqlstate == "42501"


def test_what_the_door_does_is_not_told_to_the_caller(launcher: Session) -> None:
    heard: list[str] = []
    launcher.connection.add_notice_handler(
        lambda notice: heard.append(f"{notice.message_primary} {notice.message_detail}")
    )
    # Plans are printed with the values of their parameters, as a list of bytes.
    launcher.execute("set debug_print_plan = on; set debug_print_parse = on")
    launcher.execute("set debug_print_rewritten = on; set debug_pretty_print = off")
    launcher.execute("set client_min_messages = debug5")
    job = launcher.launch("select 1")
    launcher.execute("set client_min_messages = notice")
    assert any("PLANNEDSTMT" in each for each in heard)

    def as_bytes(words: str) -> str:
        return " ".join(str(byte) for byte in words.encode())

    told = " ".join("\n".join(heard).split())
    assert as_bytes("pg_background ") + " " not in told
    assert as_bytes(str(job.cookie)) not in told
    assert as_bytes("user='") not in told
    assert as_bytes("_register") not in told


def test_nobody_can_list_the_links_of_his_session(launcher: Session) -> None:
    launcher.finished(launcher.launch("select 1"))
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.execute("select dblink_get_connections()")


def test_errors_of_links_do_not_name_them(admin: Session, launcher: Session) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', null, 0)")
    with pytest.raises(errors.ConfigurationLimitExceeded) as refused:
        launcher.launch("select 1")
    diagnostics = refused.value.diag
    told = " ".join(
        str(getattr(diagnostics, name))
        for name in (
            "message_primary",
            "message_detail",
            "message_hint",
            "context",
            "internal_query",
        )
    )
    assert re.search("pg_background [0-9a-f]{32}", told) is None
    assert "_register" not in told


def test_another_roles_definer_function_cannot_use_the_links_of_my_session(
    admin: Session, launcher: Session, roles: Roles, connect: Connect
) -> None:
    stranger = roles.create("stranger")
    session = connect(stranger)
    admin.execute(f"grant create, usage on schema public to {stranger}")
    session.execute(
        """
        create function public.thief() returns text language plpgsql security definer as $$
        declare names text := ''; each text;
        begin
            foreach each in array array['pg_background', 'pg_background 1', ''] loop
                begin
                    perform from dblink(each, 'select 1') as t(a int4);
                    names := names || ' ' || each;
                exception when others then null; end;
            end loop;
            begin
                names := names || dblink_get_connections()::text;
            exception when insufficient_privilege then null; end;
            begin
                names := names || (select string_agg(name, ' ') from pg_prepared_statements);
            exception when others then null; end;
            return names || coalesce((select string_agg(query, ' ') from pg_stat_activity
                                       where query like '%\\_register%'), '');
        end $$
        """
    )
    launcher.finished(launcher.launch("select 1"))
    assert (launcher.value("select public.thief()") or "").strip() == ""


def test_a_link_of_another_login_is_closed_before_the_launch_returns(
    admin: Session, launcher: Session, roles: Roles, connect: Connect, gate: Gate
) -> None:
    stranger = roles.create("stranger")
    session = connect(stranger)
    admin.execute(f"grant create, usage on schema public to {stranger}")
    session.execute(
        f"""
        create function public.theirs() returns background.pg_background_handle
        language sql security definer
        as $$ select background.pg_background_launch($job${gate.sql}$job$) $$
        """
    )
    job = Handle(*launcher.rows("select * from public.theirs()")[0])
    gate.arrived()
    # The superuser sees what the session has: it is asked through the session itself.
    admin.execute(
        f"grant execute on function public.dblink_get_connections() to {launcher.value('select user')}"
    )
    assert launcher.value("select public.dblink_get_connections()") is None
    gate.open()
    assert session.finished(job).state == "stopped"


def test_progress_of_other_jobs_cannot_be_reported(
    launcher: Session, victim: Session, gate: Gate
) -> None:
    theirs = victim.launch(
        f"select background.pg_background_report_progress(10, 'theirs'); {gate.sql}"
    )
    gate.arrived()
    with pytest.raises(errors.FeatureNotSupported):
        launcher.execute("select background.pg_background_report_progress(99, 'forged')")
    mine = launcher.launch("select background.pg_background_report_progress(99, 'mine')")
    launcher.wait(mine)
    assert victim.call("get_progress", *theirs) == [(10, "theirs")]


def test_a_job_that_gives_up_all_its_advisory_locks_still_holds_its_own(
    launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(f"select pg_advisory_unlock_all(); {gate.sql}; select 3 as n")
    gate.arrived()
    assert not launcher.wait(job, 100)
    gate.open()
    assert launcher.result(job, "n int4") == [(3,)]


def test_a_job_that_takes_and_frees_its_own_lock_is_waited_for_all_the_same(
    launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(
        """
        do $$
        declare k int8;
        begin
            select classid::int8 << 32 | objid::int8 into k from pg_locks
             where locktype = 'advisory' and pid = pg_backend_pid();
            perform pg_advisory_unlock(k);
            perform pg_advisory_lock(k);
            perform pg_advisory_unlock(k);
        end $$;
        """
        + gate.sql
    )
    gate.arrived()
    assert not launcher.wait(job, 100)
    gate.open()
    assert launcher.finished(job).state == "stopped"


def job_lock(admin: Session, job: Handle) -> int:
    key: int = admin.value("select lock_key from background.job where cookie = %s", [job.cookie])
    return key


def test_a_stranger_who_takes_a_jobs_lock_after_its_end_holds_up_nobody(
    admin: Session, launcher: Session, victim: Session
) -> None:
    job = victim.launch("select 1")
    victim.wait(job)
    launcher.execute("select pg_advisory_lock(%s)", [job_lock(admin, job)])
    assert victim.wait(job, 10000)
    assert victim.result(job, "n int4") == [(1,)]


def test_a_stranger_who_queues_for_a_running_jobs_lock_holds_up_nobody(
    admin: Session, launcher: Session, victim: Session, gate: Gate
) -> None:
    job = victim.launch(gate.sql)
    gate.arrived()
    key = job_lock(admin, job)
    # Any session of any role can ask for any advisory lock, and everybody sees their keys.
    seen = launcher.rows(
        "select classid::int8 << 32 | objid::int8 from pg_locks where pid = %s"
        " and locktype = 'advisory' and granted",
        [job.pid],
    )
    assert (key,) in seen
    pipeline = launcher.connection.pgconn
    pipeline.send_query(f"select pg_advisory_lock({key})".encode())
    eventually(
        lambda: admin.value(
            "select count(*) from pg_locks where pid = %s and not granted", [launcher.pid]
        )
    )
    gate.open()
    assert victim.wait(job, 20000)
    assert victim.outcome(job).state == "stopped"


def test_a_stranger_who_holds_a_dead_jobs_lock_does_not_keep_it_alive(
    admin: Session, launcher: Session, victim: Session, gate: Gate
) -> None:
    job = victim.launch(gate.sql)
    gate.arrived()
    key = job_lock(admin, job)
    launcher.connection.pgconn.send_query(f"select pg_advisory_lock({key})".encode())
    eventually(
        lambda: admin.value(
            "select count(*) from pg_locks where pid = %s and not granted", [launcher.pid]
        )
    )
    admin.execute("select pg_terminate_backend(%s)", [job.pid])
    admin.until_gone(job.pid)
    assert victim.wait(job, 20000)
    assert victim.outcome(job).sqlstate == "57P01"


def test_a_job_that_takes_the_lock_of_the_registry_is_refused(launcher: Session) -> None:
    job = launcher.launch("lock table background.registration in access exclusive mode")
    assert launcher.finished(job).sqlstate == "42501"
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_what_a_job_holds_back_until_its_commit_still_runs_with_its_own_rights(
    admin: Session, launcher: Session, app: str
) -> None:
    admin.execute("create table seen (role text); grant insert on seen to public")
    launcher.execute(
        """
        create function public.spy() returns int4 language plpgsql as $$
        begin insert into public.seen values (current_user); return 1; end $$;
        create table public.t (id int4);
        create function public.late() returns trigger language plpgsql as $$
        begin perform public.spy(); return null; end $$;
        create constraint trigger late after insert on public.t
            deferrable initially deferred for each row execute function public.late()
        """
    )
    job = launcher.launch(
        "declare c cursor with hold for select public.spy();"
        " insert into public.t values (1); set constraints all deferred"
    )
    assert launcher.finished(job).error_message is None
    assert {role for (role,) in admin.rows("select role from seen")} == {app}


def test_internal_functions_of_the_schema_pin_their_search_path(db: Database) -> None:
    admin = Session(db.connect())
    unpinned = admin.rows(
        """
        select proname::text from pg_proc
         where pronamespace = 'background'::regnamespace and prosecdef
           and not coalesce(proconfig @> array['search_path=pg_catalog, pg_temp'], false)
        """
    )
    assert unpinned == []


def test_only_the_owner_can_make_objects_in_the_schema(launcher: Session) -> None:
    for statement in (
        "create function background.pg_background_launch(text) returns int4 language sql as 'select 1'",
        "create table background.t (id int4)",
        "create or replace function background._seal(words text) returns text language sql as 'select 1'",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            launcher.execute(statement)
