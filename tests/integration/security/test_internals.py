"""Whoever calls the internal functions himself, with whatever he could guess or see, gets nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg
import pytest
from psycopg import errors

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session, elapsed_ms

Connect = Callable[..., Session]
MARKER = "a secret of the victim"
# How long somebody else's open transaction may hold up a launch, a wait or a cancel, in ms.
PATIENCE_MS = 3000

# What arguments of these names are given; all others get what their type suggests.
BY_NAME = {
    "in_kind": ["'cancel'", "'detach'"],
    "hard": ["true", "false"],
    "patience_ms": ["50"],
    "budget_ms": ["10000"],
    "in_sqlstate": ["null", "'57014'"],
    "module": ["'db'"],
    "in_queues": ["true", "false"],
}
INTERNALS = """
    select p.proname::text, p.prokind::text,
           array(select format_type(t.type, null)
                   from unnest(case p.prokind when 'p' then coalesce(p.proallargtypes, p.proargtypes)
                                    else p.proargtypes end) with ordinality t (type, n) order by t.n)::text[],
           coalesce(p.proargnames, '{}')
      from pg_proc p
     where p.pronamespace = 'pgbackground'::regnamespace and has_function_privilege(%s, p.oid, 'execute')
     order by 1, p.oid
"""


class Targets(NamedTuple):
    """Another user's session, and his jobs: one that runs, one in the queue, one that has ended."""

    session: Session
    running: Handle
    queued: Handle
    ended: Handle


@pytest.fixture
def victim(connect: Connect, roles: Roles) -> Session:
    """Give a session of another plain role, whose jobs are to be attacked."""
    return connect(roles.create("victim"))


@pytest.fixture
def targets(victim: Session, gate: Gate) -> Targets:
    """Give the victim's jobs. The one in the queue waits for the end of the one that runs."""
    ended = victim.launch(f"select '{MARKER}' as ended", label=MARKER)
    assert victim.finished(ended).state == "stopped"
    victim.execute("set pg_background.max_workers = 1; set pg_background.when_full = 'queue'")
    running = victim.launch(f"{gate.sql}; select '{MARKER}' as running", label=MARKER)
    gate.arrived()
    queued = victim.launch(f"select '{MARKER}' as queued", label=MARKER)
    assert queued.pid == 0
    return Targets(victim, running, queued, ended)


def value(name: str, kind: str, numbers: dict[str, list[str]], choice: int) -> str:
    """An argument as somebody writes it who has a handle: its choice goes from handle to handle."""
    found = BY_NAME.get(name) or numbers.get(kind) or ["null"]
    return f"{found[choice % len(found)]}::{kind}"


def forged_calls(admin: Session, role: str, jobs: list[Handle]) -> list[tuple[str, str]]:
    """Calls of every internal routine that a role may execute, with all that one may know of jobs."""
    numbers: dict[str, list[str]] = {
        "text": ["'select 1'"],
        "text[]": ["array['x']", "'{}'"],
        "boolean": ["true", "false"],
        "json": ["'1'"],
        "double precision": ["50"],
        "record": ["row(1)"],
        "integer[]": ["array[pg_backend_pid()]"],
        "bigint": [],
        "integer": [],
        "pgbackground.job": [],
    }
    for job in jobs:
        key = admin.value("select lock_key from pgbackground.job where cookie = %s", [job.cookie])
        for cookie in {job.cookie, key or job.cookie}:
            numbers["bigint"].append(str(cookie))
            numbers["integer"].append(str(job.pid))
            forged = (
                f"json_build_object('cookie', {cookie}, 'pid', {job.pid}, 'lock_key', {key or 0},"
                " 'state', 'running', 'live', true, 'home', pgbackground.home(), 'sql', 'select 1',"
                " 'kinds', array['rows'], 'mode', 'inline', 'keeps_rows', true, 'number', 1, 'begun', true)"
            )
            numbers["pgbackground.job"].append(
                f"json_populate_record(null::pgbackground.job, {forged})"
            )
    calls = []
    for name, kind, types, given in admin.rows(INTERNALS, [role]):
        names = [*given, *[""] * len(types)]
        for choice in range(len(numbers["bigint"]) if types else 1):
            arguments = ", ".join(
                value(each, type_, numbers, choice)
                for each, type_ in zip(names, types, strict=False)
            )
            verb = "call" if kind == "p" else "select"
            calls.append((name, f"{verb} pgbackground.{name}({arguments})"))
        nulls = ", ".join(f"null::{each}" for each in types)
        calls.append((name, f"{'call' if kind == 'p' else 'select'} pgbackground.{name}({nulls})"))
    return list(dict.fromkeys(calls))


class Attacker:
    """A plain user who calls whatever he may, and writes down what he is told."""

    def __init__(self, session: Session, calls: list[tuple[str, str]]) -> None:
        self.session = session
        self.calls = calls
        self.told: list[str] = []
        self.accepted: set[str] = set()
        session.connection.prepare_threshold = None
        session.connection.add_notice_handler(
            lambda notice: self.told.append(f"{notice.message_primary} {notice.message_detail}")
        )

    def call_all(self, *, in_transaction: bool) -> None:
        """Make all the calls, each by itself or all in one transaction that stays open."""
        if in_transaction:
            self.session.execute("begin")
        for name, call in self.calls:
            if in_transaction:
                self.session.execute("savepoint before")
            try:
                cursor = self.session.execute(call)
                self.told.append(str(cursor.fetchall() if cursor.description else ""))
                self.accepted.add(name)
            except psycopg.Error as refused:
                self.told.append(f"{call}: {refused.sqlstate} {refused} {refused.diag.context}")
                if in_transaction:
                    self.session.execute("rollback to savepoint before")

    def assert_learned_nothing(self) -> None:
        """The victim's marker is in nothing that he was told, and no call ran into an internal error."""
        assert self.accepted
        assert not [each for each in self.told if MARKER in each or " XX000 " in each]


def assert_unharmed(admin: Session, targets: Targets, gate: Gate, attacker: Session) -> None:
    """The victim's jobs end as they should, and nobody has gained anything."""
    session = targets.session
    rest = {"queued", "running", "stopped"}
    assert {session.outcome(job).state for job in targets[1:]} == rest
    gate.open()
    assert session.result(targets.running, "a text") == [(MARKER,)]
    assert session.result(targets.queued, "a text") == [(MARKER,)]
    assert session.result(targets.ended, "a text") == [(MARKER,)]
    for job in targets[1:]:
        assert session.outcome(job).state == "stopped"
        row = session.job(job)
        assert (row["cancel_requested"], row["detached"]) == (False, False)
    assert_nobody_gained(admin, attacker)


def assert_nobody_gained(admin: Session, attacker: Session) -> None:
    """Whoever may launch may add jobs of his own; nobody runs anything as somebody else."""
    assert not attacker.value("select rolsuper from pg_roles where rolname = session_user")
    made = admin.rows("select distinct role_name::text, login_name::text from pgbackground.job")
    assert [each for each in made if each[0] != each[1] or not each[0].startswith("bg_")] == []
    with_marker = "select count(*) from pgbackground.job where strpos(sql, %s) > 0"
    assert admin.value(with_marker, [MARKER]) == 3
    assert admin.value("select count(*) from background.pg_background_limits") == 0
    assert admin.value("select count(*) from background.pg_background_config") == 0


def others(targets: Targets) -> list[Handle]:
    return [targets.running, targets.queued, targets.ended]


def test_forged_calls_with_others_handles_change_nothing_and_tell_nothing(
    admin: Session, targets: Targets, connect: Connect, app: str, gate: Gate
) -> None:
    attacker = Attacker(
        connect(options="-c statement_timeout=500"), forged_calls(admin, app, others(targets))
    )
    attacker.call_all(in_transaction=False)
    attacker.assert_learned_nothing()
    assert_unharmed(admin, targets, gate, attacker.session)


def test_forged_calls_in_a_transaction_that_stays_open_hold_up_nobody(
    admin: Session, targets: Targets, connect: Connect, roles: Roles, app: str, gate: Gate
) -> None:
    calls = forged_calls(admin, app, others(targets))
    attacker = Attacker(
        connect(options="-c statement_timeout=500"),
        calls,
    )
    other = connect(targets.session.value("select user"))
    for session in (other, connect(roles.create("third"))):
        session.finished(session.launch("select 1"))
    attacker.call_all(in_transaction=True)
    for session in (other, connect(roles.create("fourth"))):
        for _ in range(3):
            started = time.monotonic()
            job = session.launch("select 1")
            assert session.finished(job).error_message is None
            assert elapsed_ms(started) < PATIENCE_MS
        job = session.launch("select pg_sleep(60)")
        started = time.monotonic()
        session.cancel(job)
        assert session.finished(job).state == "canceled"
        assert elapsed_ms(started) < PATIENCE_MS
    started = time.monotonic()
    assert not targets.session.wait(targets.running, 100)
    assert not targets.session.wait(targets.queued, 100)
    assert elapsed_ms(started) < PATIENCE_MS
    attacker.assert_learned_nothing()
    # While his transaction is still open.
    assert_unharmed(admin, targets, gate, attacker.session)
    attacker.session.execute("rollback")
    assert_nobody_gained(admin, attacker.session)


def test_others_cancel_their_jobs_while_a_transaction_with_forged_calls_is_open(
    admin: Session, targets: Targets, connect: Connect, app: str
) -> None:
    attacker = Attacker(
        connect(options="-c statement_timeout=500"), forged_calls(admin, app, others(targets))
    )
    attacker.call_all(in_transaction=True)
    started = time.monotonic()
    for job in (targets.queued, targets.running):
        targets.session.cancel(job)
        assert targets.session.finished(job).state == "canceled"
    targets.session.detach(targets.ended)
    assert elapsed_ms(started) < PATIENCE_MS


def test_forged_calls_from_a_job_change_nothing_and_tell_nothing(
    admin: Session, targets: Targets, launcher: Session, app: str, gate: Gate
) -> None:
    launcher.execute(
        """
        create function public.attack(calls text[]) returns setof text language plpgsql as $$
        declare
            each text;
            answer text;
        begin
            perform set_config('lock_timeout', '300ms', false);
            foreach each in array calls loop
                begin
                    if each like 'call%' then
                        execute each;
                        answer := 'called';
                    else
                        execute 'select string_agg(a::text, '' '') from (' || each || ') a' into answer;
                    end if;
                exception when others then
                    get stacked diagnostics answer = pg_exception_context;
                    answer := concat_ws(' ', each, sqlstate, sqlerrm, answer);
                end;
                return next answer;
            end loop;
        end $$
        """
    )
    calls = [call for _, call in forged_calls(admin, app, others(targets))]
    for number in range(0, len(calls), 40):
        launcher.execute("set pg_background.max_workers = 100")
        some = literal(launcher, calls[number : number + 40])
        job = launcher.launch(f"select * from public.attack({some})")
        found = launcher.outcome(job) if launcher.wait(job, 60000) else None
        assert found is not None
        if found.state == "stopped":
            told = str(launcher.result(job, "told text"))
            assert MARKER not in told
        assert MARKER not in str(found)
        launcher.detach(job)
    assert_unharmed(admin, targets, gate, launcher)


def literal(session: Session, calls: list[str]) -> str:
    """An array of texts as SQL."""
    found: str = session.value("select format('%%L::text[]', %s::text[])", [calls])
    return found


def test_a_user_who_forges_calls_for_his_own_jobs_harms_himself_at_most(
    admin: Session, targets: Targets, connect: Connect, launcher: Session, app: str, gate: Gate
) -> None:
    launcher.execute("set pg_background.max_workers = 2; set pg_background.when_full = 'queue'")
    ended = launcher.launch("select 'mine'")
    launcher.finished(ended)
    running, queued = launcher.launch(gate.sql), launcher.launch("select 'mine'")
    attacker = Attacker(
        connect(options="-c statement_timeout=500"),
        forged_calls(admin, app, [running, queued, ended]),
    )
    attacker.call_all(in_transaction=False)
    attacker.call_all(in_transaction=True)
    other = connect(targets.session.value("select user"))
    started = time.monotonic()
    assert other.finished(other.launch("select 1")).state == "stopped"
    assert elapsed_ms(started) < PATIENCE_MS
    attacker.assert_learned_nothing()
    assert_unharmed(admin, targets, gate, launcher)
    attacker.session.execute("rollback")


def by_name(admin: Session, routine: str, given: dict[str, str]) -> str:
    """A call of an internal function, its arguments by their names; those that are not given are null."""
    found = admin.rows(
        """
        select p.proargnames[t.n], format_type(t.type, null)
          from pg_proc p, unnest(p.proargtypes) with ordinality t (type, n)
         where p.pronamespace = 'pgbackground'::regnamespace and p.proname = %s order by t.n
        """,
        [routine],
    )
    names = [name for name, _ in found]
    if not set(given) <= set(names):
        raise LookupError(f"{routine} has the arguments {names}")
    arguments = ", ".join(f"{given.get(name, 'null')}::{kind}" for name, kind in found)
    return f"pgbackground.{routine}({arguments})"


# What a job may know of itself.
OWN = "(select c.{} from pgbackground.claim((select j.cookie from pgbackground.visible_job j\
 where j.pid = pg_backend_pid() and j.state = 'running')) c)"
COOKIE, PLACE = "((" + OWN.format("j") + ").cookie)", OWN.format("place")
ROWS = {"in_cookie": COOKIE, "in_row": PLACE, "in_chunk": "1", "in_rows": "array['(forged)']"}
FORGERIES: dict[str, tuple[str, dict[str, str]]] = {
    "finish": ("finish", {"in_cookie": COOKIE, "in_row": PLACE, "in_rows": "1"}),
    "finish with an error": (
        "finish",
        {"in_cookie": COOKIE, "in_row": PLACE, "in_sqlstate": "'40001'", "in_message": "'forged'"},
    ),
    "store_rows": ("store_rows", ROWS),
    "becomes_top_level": ("becomes_top_level", {"in_cookie": COOKIE}),
    "request": ("request", {"in_pid": "0", "in_cookie": COOKIE, "in_kind": "'cancel'"}),
    "begin_queued": ("begin_queued", {"in_cookie": COOKIE}),
    "lost": ("lost", {"in_cookie": COOKIE}),
}


@pytest.mark.parametrize(
    "last", ["select 'rows' as a", "select 1 where false", "insert into t values (2)"]
)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_job_that_forges_its_record_has_its_effects_if_and_only_if_it_says_stopped(
    admin: Session, launcher: Session, forgery: str, last: str
) -> None:
    launcher.execute("create table public.t (id int4)")
    call = by_name(admin, *FORGERIES[forgery])
    job = launcher.launch(
        f"insert into t values (1); do $do$ begin perform {call}; end $do$; {last}"
    )
    outcome = launcher.finished(job)
    assert outcome.state in ("stopped", "error", "canceled")
    assert bool(launcher.value("select count(*) from t")) is (outcome.state == "stopped")
    if forgery.startswith("finish"):
        assert outcome.state == "error"
        assert admin.value("select count(*) from pgbackground.job_rows") == 0
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_job_cannot_claim_or_record_another(
    admin: Session, victim: Session, launcher: Session, gate: Gate
) -> None:
    theirs = victim.launch(f"{gate.sql}; select 'theirs'")
    gate.arrived()
    place = admin.value(
        "select ctid::text from pgbackground.job where cookie = %s", [theirs.cookie]
    )
    known = {"in_cookie": f"{theirs.cookie}", "in_row": f"'{place}'", "in_pid": f"{theirs.pid}"}
    calls: tuple[tuple[str, dict[str, str]], ...] = (
        ("claim", {}),
        ("begin_queued", {}),
        ("store_rows", {"in_row": "", "in_chunk": "1", "in_rows": "array['(forged)']"}),
        ("finish", {"in_row": "", "in_rows": "1"}),
        ("request", {"in_pid": "", "in_kind": "'cancel'"}),
        ("request", {"in_pid": "0", "in_kind": "'detach'"}),
    )
    for routine, given in calls:
        filled = {name: content or known[name] for name, content in given.items()}
        text = by_name(admin, routine, {"in_cookie": known["in_cookie"], **filled})
        with pytest.raises(errors.InsufficientPrivilege):
            launcher.execute(f"select {text}")
        assert launcher.finished(launcher.launch(f"select {text}")).sqlstate == "42501"
    for call in ("signal({}, true)", "take({})"):
        assert launcher.value(f"select pgbackground.{call}::text".format(theirs.cookie)) in (
            "false",
            "(,,f)",
        )
    assert launcher.value("select pgbackground.becomes_top_level(%s)", [theirs.cookie]) is False
    assert launcher.value("select pgbackground.lost(%s)", [theirs.cookie]) is False
    assert admin.value("select count(*) from pgbackground.job_rows") == 0
    gate.open()
    assert victim.result(theirs) == [("theirs",)]


def test_only_what_is_listed_can_be_used_by_a_plain_role(admin: Session, app: str) -> None:
    usable = {
        name
        for (name,) in admin.rows(
            """
            select p.proname::text from pg_proc p
             where p.pronamespace = 'pgbackground'::regnamespace and has_function_privilege(%s, p.oid, 'execute')
            """,
            [app],
        )
    }
    assert usable == {name for (name,) in admin.rows("select name from pgbackground.callable")}
    relations = admin.rows(
        """
        select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('background', 'pgbackground')
           and case c.relkind when 'S' then has_sequence_privilege(%(role)s, c.oid, 'usage, select, update')
                    when 'c' then false when 'i' then false
                    else has_table_privilege(
                             %(role)s, c.oid, 'select, insert, update, delete, truncate, references, trigger')
                         or has_any_column_privilege(%(role)s, c.oid, 'select, insert, update, references') end
        """,
        {"role": app},
    )
    assert {name for schema, name in relations if schema == "pgbackground"} == {
        "visible_job", "visible_rows", "visible_message",
    }  # fmt: skip
    assert [
        name for schema, name in relations if schema == "background" and not is_public(name)
    ] == []
    functions = admin.rows(
        "select p.proname::text, has_function_privilege(%s, p.oid, 'execute') from pg_proc p"
        " where p.pronamespace = 'background'::regnamespace",
        [app],
    )
    assert {
        (is_public(name), usable)
        for name, usable in functions
        if not name.endswith(("privileges", "import_cron", "at_login"))
    } == {(True, True)}
    # Types that stand for themselves; those of tables and views give no rights on rows.
    types = admin.rows(
        """
        select t.typname::text from pg_type t join pg_class c on c.oid = t.typrelid
         where t.typnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
           and c.relkind = 'c' and has_type_privilege(%s, t.oid, 'usage')
        """,
        [app],
    )
    assert [name for (name,) in types if not is_public(name)] == []


def is_public(name: str) -> bool:
    return name.startswith(("pg_background_", "grant_pg_background", "revoke_pg_background"))


def registers(admin: Session, cookie: int, sql: str, **given: str) -> str:
    """A call that registers a job in whatever session it runs, as its launcher would."""
    usual = {
        "in_cookie": str(cookie),
        "in_launcher": str(cookie),
        "in_sql": f"'{sql}'",
        "in_kinds": "array['none']",
        "in_tag": "'X'",
        "in_queue_size": "65536",
        "in_mode": "'inline'",
        "in_keeps_rows": "true",
        "in_detached": "false",
        "in_session_limit": "1000",
        "in_timeout_ms": "0",
        "in_queues": "true",
        "in_names": "'{}'",
        "in_values": "'{}'",
        "surely_in_session": "false",
    }
    return by_name(admin, "register", {**usual, **given})


def two_jobs(admin: Session, role: str) -> list[str]:
    """Two calls that queue jobs as whoever has the session: the first finds no room, the second waits behind it."""
    return [
        registers(admin, 71, "select 1", in_session_limit="0"),
        registers(admin, 72, f"alter role {role} superuser"),
    ]


def assert_not_superuser(admin: Session, attacker: Session) -> None:
    """Whatever is queued now is run, and he is what he was."""
    attacker.execute("call pgbackground.start_queued()")
    for cookie in (71, 72):
        if admin.outcome(Handle(0, cookie)).state:
            admin.wait(Handle(0, cookie), 1000)
    role = attacker.value("select session_user::text")
    assert admin.rows("select rolsuper from pg_roles where rolname = %s", [role]) == [(False,)]
    assert (
        admin.rows("select sql from pgbackground.job where role = 10 and cookie in (71, 72)") == []
    )


def test_anothers_definer_function_registers_no_job_for_its_caller(
    admin: Session, launcher: Session, app: str
) -> None:
    first, second = two_jobs(admin, app)
    launcher.execute(
        f"""
        create function public.harmless() returns int4 language plpgsql security definer as $$
        begin perform {first}; perform {second}; return 1; end $$
        """
    )
    with pytest.raises(errors.InsufficientPrivilege):
        admin.execute("select public.harmless()")
    assert admin.finished(admin.launch("select public.harmless()")).sqlstate == "42501"
    assert_not_superuser(admin, launcher)


def test_anothers_materialized_view_registers_no_job_for_who_refreshes_it(
    admin: Session, launcher: Session, app: str
) -> None:
    first, second = two_jobs(admin, app)
    launcher.execute(
        f"create materialized view public.mv as select ({first}).state union all select ({second}).state with no data"
    )
    refresh = "refresh materialized view public.mv"
    with pytest.raises(errors.InsufficientPrivilege):
        admin.execute(refresh)
    assert admin.finished(admin.launch(refresh)).sqlstate == "42501"
    assert_not_superuser(admin, launcher)


RETIREMENT_IS_FREE = (
    "select count(*) = 1 from (select from pgbackground.retirement for update skip locked) r"
)


def test_nobody_can_hold_the_lock_on_retirement(
    admin: Session, launcher: Session, connect: Connect
) -> None:
    old = launcher.launch("select 1")
    launcher.wait(old)
    attacker = connect()
    for call in ("retire()", "retire(10000)"):
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(f"select pgbackground.{call}")
    for cookie in ("null", str(old.cookie)):
        call = f"select pgbackground.retire_after({cookie}, 10000)"
        attacker.execute("begin")
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(call)
        attacker.execute("rollback")
        assert attacker.finished(attacker.launch(call)).sqlstate == "42501"
    assert admin.value(RETIREMENT_IS_FREE)


def test_nobody_can_hold_the_lock_on_retirement_with_a_job_made_by_hand(
    admin: Session, launcher: Session, connect: Connect, roles: Roles
) -> None:
    launcher.finished(launcher.launch("select 1"))
    launcher.finished(launcher.launch("select 1"))
    admin.execute("insert into background.pg_background_config values ('max_history', '0')")
    attacker = connect(roles.create("attacker"))
    attacker.execute("begin")
    attacker.execute(f"select {registers(admin, 71, 'select 1')}")
    attacker.execute(f"select {by_name(admin, *FORGERIES['finish'])}")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("select pgbackground.retire_after(71, 10000)")
    assert admin.value(RETIREMENT_IS_FREE)


def test_nobody_keeps_the_places_of_all_with_jobs_made_by_hand(
    admin: Session, launcher: Session, connect: Connect, roles: Roles
) -> None:
    admin.execute("insert into background.pg_background_limits values ('database', null, 4)")
    attacker = connect(roles.create("attacker"))
    attacker.execute(f"select {registers(admin, 71, 'x')}")
    for cookie in range(72, 75):
        attacker.execute("set pg_background.last_job = ''")
        # One session makes one job by hand, and its end frees the place.
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(f"select {registers(admin, cookie, 'x')}")
    process = attacker.pid
    attacker.close()
    admin.until_gone(process)
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_users_can_read_and_write_none_of_the_tables(admin: Session, launcher: Session) -> None:
    tables = admin.rows(
        "select c.oid::regclass::text from pg_class c where c.relkind = 'r'"
        " and c.relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)"
    )
    assert len(tables) > 8
    for (name,) in tables:
        for statement in ("select from {}", "delete from {}", "insert into {} default values"):
            with pytest.raises(errors.InsufficientPrivilege):
                launcher.execute(statement.format(name))
            job = launcher.launch(statement.format(name))
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
    assert as_bytes("pgbackground.register") not in told


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
    assert "pgbackground.register" not in told


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
                                       where query like '%register%' and pid <> pg_backend_pid()), '');
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
    key: int = admin.value("select lock_key from pgbackground.job where cookie = %s", [job.cookie])
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


def test_a_job_that_takes_a_lock_of_the_registry_is_refused(
    admin: Session, launcher: Session
) -> None:
    tables = admin.rows(
        "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'v')"
        " and c.relnamespace = 'pgbackground'::regnamespace"
    )
    for (name,) in tables:
        job = launcher.launch(f"lock table {name} in row exclusive mode")
        assert launcher.finished(job).sqlstate == "42501", name
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


def test_definer_functions_pin_their_search_path(admin: Session) -> None:
    unpinned = admin.rows(
        """
        select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace in ('background'::regnamespace, 'pgbackground'::regnamespace) and p.prosecdef
           and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)
        """
    )
    assert unpinned == []


def test_only_the_owner_can_make_objects_in_the_schemas(launcher: Session) -> None:
    for schema in ("background", "pgbackground"):
        for statement in (
            "create function {}.pg_background_launch(text) returns int4 language sql as 'select 1'",
            "create table {}.t (id int4)",
            "create view {}.v as select 1 as a",
            "create or replace function {}.home() returns text language sql as 'select 1'",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                launcher.execute(statement.format(schema))
