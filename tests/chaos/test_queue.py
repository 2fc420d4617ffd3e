"""Enqueued work while workers, the clock and the server are killed: attempts, parents and keys hold.

Jobs write down each attempt that begins in a file, which no rollback and no crash takes back, and their
effect in a table. What the file, the table and the registry say must fit.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.chaos.blows import Blows, recovered
from tests.fix_db import Database
from tests.integration.queues import enqueue
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.servers import Server

PRODUCERS = 4
GRAPHS = 6
HANGS_MS = 60_000
KEYS = 3
# What a job fails with, and whether `transient` tries it again.
FAILURES = {"40001": True, "22012": False}
NEVER_AGAIN = "08007"
BEFORE_A_KILL = ("57P01", "57P02", "57P03", "08006")

# What a job does. It fails by chance, and says in the file what it has found amiss:
# early, a parent is not at its end; twice, another attempt of it or another job of its key runs beside it.
SETUP = """
create table public.effect (number int8, cookie int8);
create function public.note(line text) returns void language plpython3u security definer as $python$
import os
file = os.open({ledger!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(file, line.encode() + b"\\n")
os.close(file)
$python$;
create function public.is_alone(class int4, key int4) returns bool language plpgsql as $plpgsql$
begin
    -- The locks of a transaction that has ended go a moment after its effects have come.
    for look in 1 .. 10 loop
        if pg_try_advisory_xact_lock(class, key) then
            return true;
        end if;
        perform pg_sleep(0.01);
    end loop;
    return false;
end
$plpgsql$;
create function public.work(number int8, parents int8[], how text, key text, sqlstate text, likely float8, pause float8)
returns void language plpgsql security definer as $plpgsql$
declare
    me record;
    problem text := '-';
begin
    select j.cookie, j.attempt into strict me from pgbackground.job j
     where j.state = 'running' and pg_backend_pid() in (j.pid, j.executor_pid) and j.label = work.number::text;
    if exists (select from unnest(parents) p
                where case how when 'stopped' then not exists (select from public.effect e where e.cookie = p)
                               else exists (select from pgbackground.job j where j.cookie = p and j.live) end) then
        problem := 'early';
    elsif not public.is_alone(77, number::int4) or key is not null and not public.is_alone(78, hashtext(key)) then
        problem := 'twice';
    end if;
    perform public.note(format('%s %s %s %s', number, me.cookie, me.attempt, problem));
    perform pg_sleep(pause);
    if random() < likely then
        raise exception using errcode = sqlstate, message = 'by chance';
    end if;
    insert into public.effect values (work.number, me.cookie);
end
$plpgsql$;
create procedure public.work_by_itself(number int8, pause float8) language plpgsql as $plpgsql$
begin
    perform public.work(number, '{{}}', 'ended', null, null, 0, pause);
    commit;
end
$plpgsql$;
"""
ROWS = """
select j.label::int8 as number, j.cookie, j.state, j.live, j.sqlstate, j.attempt, j.key,
       array(select (regexp_match(m.detail, 'SQLSTATE (.....)'))[1] from pgbackground.job_message m
              where m.cookie = j.cookie and m.detail ~ '^Attempt ' order by m.seq) as failures,
       (select count(*) from public.effect e where e.cookie = j.cookie) as effects
  from pgbackground.job j where j.label is not null
"""


class Wish(NamedTuple):
    """What somebody has enqueued."""

    number: int
    cookie: int
    attempts: int
    retry_on: str
    parents: tuple[int, ...]
    how: str
    key: str | None
    top_level: bool

    def again(self, sqlstate: str | None) -> bool:
        """Is an attempt that fails like this followed by another one, as long as one is left?"""
        if sqlstate in (None, NEVER_AGAIN):
            return False
        return self.retry_on == "any" or FAILURES.get(str(sqlstate), sqlstate in BEFORE_A_KILL)


class Producer(threading.Thread):
    """Enqueues small graphs of jobs, each in a transaction, until it has made enough or is cut off."""

    def __init__(
        self, session: Session, numbers: Iterator[int], chance: random.Random, graphs: int
    ) -> None:
        super().__init__()
        self.session = session
        self.numbers = numbers
        self.chance = chance
        self.graphs = graphs
        self.committed: list[list[Wish]] = []
        self.unsure: list[list[Wish]] = []
        self.taken_back: list[list[Wish]] = []

    def run(self) -> None:
        """Commit most of them, and take some back."""
        for _ in range(self.graphs):
            graph: list[Wish] = []
            taken_back = self.chance.random() < 0.1
            try:
                self.session.execute("begin")
                for _ in range(self.chance.randint(1, 4)):
                    graph.append(self._enqueue(graph))
                if taken_back:
                    self.session.execute("rollback")
                    self.taken_back.append(graph)
                else:
                    self.unsure.append(graph)
                    self.session.execute("commit")
                    self.committed.append(self.unsure.pop())
            except psycopg.OperationalError:
                if self.session.connection.closed:
                    return
                raise

    def _enqueue(self, graph: list[Wish]) -> Wish:
        pick = self.chance
        number = next(self.numbers)
        parents = tuple(w.cookie for w in pick.sample(graph, min(len(graph), pick.randint(0, 2))))
        attempts = pick.choice((1, 2, 3, 5))
        retry_on = pick.choice(("transient", "any"))
        how = pick.choice(("stopped", "stopped", "ended"))
        # One key a graph at most: two transactions that take two keys crosswise are a deadlock of their own making.
        key = f"key {pick.randrange(KEYS)}" if pick.random() < 0.3 and not keyed(graph) else None
        top_level = key is None and not parents and pick.random() < 0.1
        pause = pick.choice((0, 0.005, 0.05))
        if top_level:
            text = f"call public.work_by_itself({number}, {pause})"
        else:
            sqlstate, likely = pick.choice(tuple(FAILURES)), pick.choice((0, 0.3, 0.6))
            family = f"array[{', '.join(map(str, parents))}]::int8[], '{how}'"
            quoted = f"'{key}'" if key else "null"
            text = (
                f"select public.work({number}, {family}, {quoted}, '{sqlstate}', {likely}, {pause})"
            )
        options: dict[str, Any] = {
            "label": str(number), "attempts": attempts, "retry_on": retry_on, "after": list(parents),
            "after_state": how, "key": key, "backoff": pick.choice(("0 s", "10 ms", "100 ms")),
            "priority": pick.randint(-1, 1),
        }  # fmt: skip
        if pick.random() < 0.2:
            options["run_at"] = self.session.value(
                "select clock_timestamp() + %s * interval '1 ms'", [pick.randint(0, 300)]
            )
        job = enqueue(self.session, text, **options)
        return Wish(number, job.cookie, attempts, retry_on, parents, how, key, top_level)


def keyed(graph: list[Wish]) -> bool:
    """Has one of these jobs a key?"""
    return any(wish.key for wish in graph)


class Truth:
    """What the registry, the effects and the file say at the end."""

    def __init__(self, admin: Session, ledger: Path) -> None:
        names = ("number", "cookie", "state", "live", "sqlstate", "attempt", "key", "failures", "effects")  # fmt: skip
        rows = [dict(zip(names, row, strict=True)) for row in admin.rows(ROWS)]
        self.by_cookie = {row["cookie"]: row for row in rows}
        self.numbers = {row["number"] for row in rows}
        self.strangers = admin.value(
            "select count(*) from public.effect e left join pgbackground.job j using (cookie) where j.cookie is null"
        )
        self.begun: dict[int, list[int]] = defaultdict(list)
        self.problems: dict[int, list[str]] = defaultdict(list)
        for line in ledger.read_text().splitlines():
            _, cookie, attempt, problem = line.split()
            self.begun[int(cookie)].append(int(attempt))
            if problem != "-":
                self.problems[int(cookie)].append(problem)


def faults(wish: Wish, truth: Truth) -> Iterator[tuple[str, str]]:
    """What is wrong with a job whose transaction was committed: kinds of violations, with the facts."""
    row = truth.by_cookie.get(wish.cookie)
    facts = f"{wish} {row} begun {truth.begun[wish.cookie]} {truth.problems[wish.cookie]}"
    if row is None or row["live"]:
        yield "lost", facts
        return
    if row["number"] != wish.number:
        # The key's unfinished job stands for this one.
        if row["key"] != wish.key or wish.number in truth.numbers:
            yield "wrong job of a key", facts
        return
    begun = truth.begun[wish.cookie]
    yield from ((problem, facts) for problem in truth.problems[wish.cookie])
    if row["effects"] > 1:
        yield "doubled", facts
    most = min(row["attempt"], wish.attempts)
    if len(begun) != len(set(begun)) or max(begun, default=1) > most or row["attempt"] > most:
        yield "too many attempts", facts
    if len(row["failures"]) != row["attempt"] - 1 or not all(map(wish.again, row["failures"])):
        yield "too many attempts", facts
    if row["state"] == "error" and row["attempt"] < wish.attempts and wish.again(row["sqlstate"]):
        yield "too few attempts", facts
    unknown = row["sqlstate"] == NEVER_AGAIN
    if not (unknown or row["effects"] == (row["state"] == "stopped")) or (
        row["effects"] and not begun
    ):
        yield "untrue", facts
    yield from ((kind, facts) for kind in family(wish, row, truth))


def family(wish: Wish, row: dict[str, Any], truth: Truth) -> Iterator[str]:
    """What is wrong between a job and its parents: it is canceled if and only if one did not succeed."""
    parents = [truth.by_cookie[parent]["state"] for parent in wish.parents]
    failed = wish.how == "stopped" and any(state != "stopped" for state in parents)
    if failed != (row["state"] == "canceled"):
        yield "untrue to its parents"
    if failed and truth.begun[wish.cookie]:
        yield "early"


@pytest.fixture
def ledger(server: Server, db: Database, app: str) -> Iterator[Path]:
    """Give the file in which the jobs' attempts are written down, and make what they run."""
    if server.local is None:
        pytest.skip("a server in a container cannot be crashed from here")
    file = server.local.home / "ledger"
    with psycopg.connect(db.dsn, autocommit=True) as admin:
        admin.execute(SETUP.format(ledger=str(file)))
        admin.execute(f"grant select, insert on public.effect to {app}")
        admin.execute("select public.note('0 0 0 -')")
    yield file
    file.unlink()


def one_round(
    local: LocalServer,
    db: Database,
    app: str,
    numbers: Iterator[int],
    chance: random.Random,
    graphs: int,
) -> tuple[list[Producer], Counter[str]]:
    """Have work queued while blows fall, and wait until all of it has ended."""
    producers = [
        Producer(Session(db.connect(app)), numbers, random.Random(chance.random()), graphs)  # noqa: S311
        for _ in range(PRODUCERS)
    ]
    blows = Blows(local, db, chance, fatal=0.4, pause=0.1)
    for thread in (*producers, blows):
        thread.start()
    if blows.fatal:
        # In the midst of it.
        producers[0].join(chance.random())
        blows.quiet.set()
    for producer in producers:
        producer.join(60)
        assert not producer.is_alive(), "a producer hangs"
    blows.quiet.set()
    blows.join(90)
    assert not blows.is_alive()
    db.close()
    observer = recovered(local, db, app)
    wishes = [w for p in producers for graph in (*p.committed, *p.unsure) for w in graph]
    for wish in wishes:
        if observer.outcome(Handle(0, wish.cookie)).state is not None:
            observer.wait(Handle(0, wish.cookie), HANGS_MS)
    db.close()
    return producers, blows.dealt


@pytest.mark.timeout(3600)
def test_no_attempt_child_or_job_is_too_many_or_too_few(
    server: Server,
    db: Database,
    app: str,
    ledger: Path,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    assert server.local is not None
    numbers = itertools.count(1)
    target = rounds(80, 2000)
    dealt: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    jobs = turns = 0
    attempts: Counter[str] = Counter()
    while jobs < target:
        turns += 1
        producers, blows = one_round(server.local, db, app, numbers, chance, GRAPHS)
        dealt += blows
        truth = Truth(Session(db.connect()), ledger)
        for producer in producers:
            for graph in producer.committed:
                found += [fault for wish in graph for fault in faults(wish, truth)]
            for graph in producer.taken_back:
                found += [("taken back", str(w)) for w in graph if w.number in truth.numbers]
            for graph in producer.unsure:
                if any(wish.number in truth.numbers for wish in graph):
                    found += [fault for wish in graph for fault in faults(wish, truth)]
        found += [("of no job", str(truth.strangers))] * bool(truth.strangers)
        jobs = len(truth.by_cookie)
        attempts = Counter(row["state"] for row in truth.by_cookie.values())
        attempts["attempts"] = sum(map(len, truth.begun.values()))
        db.close()
        if found:
            break
    counted(
        f"{jobs} jobs in {turns} rounds, {dict(attempts)}, {dict(dealt)};"
        f" violations: {dict(Counter(kind for kind, _ in found)) or 0}"
    )
    assert found == []
