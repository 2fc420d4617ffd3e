"""Scenarios: what a session types, and what it is answered here and by the C extension.

A file in scenarios/ holds many of them; each begins with a line `scenario <sentence>`, then:

    differs <heading>       a difference that docs/differences.md explains
    only here <reason>      not played on the C extension, which would hang or fall over
    on <session>            the next steps are typed into main, second, app, other or plain
    . <sql>                 has to succeed; the answer is of no interest
    launch <name>[(args)]: <sql>   has to succeed; {name} in later steps is `pid, cookie`
    submit <name>[(args)]: <sql>   likewise
    asleep <name> ...       wait until these jobs are in pg_sleep
    ended <name> ...        wait until these jobs have ended
    > <sql>                 its answer is compared
    ? <sql>                 likewise, asked again until the answer is the expected one

Lines that begin with four spaces continue the line before. Expected answers stand below their step,
one line for a row: `=` on both sides, `here` on ours, `there` on the C extension's. A row's columns
are separated by ` | `; `(no rows)`, or a command tag, when there are none. `~ NOTICE: text` is a
message. `! 22012 division by zero` is an error: the message is compared where one is given, and the
fields named behind ` // ` (`// detail: ...`); which words an error of the products themselves uses
is not compared.

Lines `case <text>: <sql>` at a scenario's end make one scenario of each, with the text for `{case}`
and the SQL for `{sql}`. `{name.pid}`, `{name.cookie}`, `{name.handle}`; `{app}`, `{other}`,
`{plain}` (roles) and `{schema}` (the products' own) may stand in steps and answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

FOLDER = Path(__file__).parent / "scenarios"
# of the schema cron, whose other side is pg_cron
CRON_FOLDER = Path(__file__).parent / "cron"

_STEP = re.compile(r"(?P<verb>[.>?]|launch |submit |asleep |ended |on )\s*(?P<rest>.*)", re.DOTALL)
_JOB = re.compile(r"(?P<name>\w+)(?:\((?P<args>.*?)\))?:\s?(?P<sql>.*)", re.DOTALL)
_CASE = re.compile(r"case (?P<case>.*?): (?P<sql>.*)", re.DOTALL)
_ANSWER = re.compile(r"(?P<side>=|here|there)(?: +(?P<text>.*))?")


@dataclass
class Step:
    """One thing that a session does."""

    verb: str
    text: str
    # of a job: its name and its further arguments of launch or submit
    name: str = ""
    args: str = ""
    here: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)

    def expected(self, side: str) -> list[str]:
        """The lines that a side has to answer with."""
        return self.here if side == "here" else self.there


@dataclass
class Scenario:
    """A sentence about behaviour, and the steps that prove it."""

    name: str
    place: str
    differs: list[str] = field(default_factory=list)
    only_here: str = ""
    steps: list[Step] = field(default_factory=list)
    cases: list[tuple[str, str]] = field(default_factory=list)

    def expanded(self) -> list[Scenario]:
        """One scenario for each case; itself where there are none."""
        return [self._with(case, sql) for case, sql in self.cases] or [self]

    def _with(self, case: str, sql: str) -> Scenario:
        def filled(text: str) -> str:
            return text.replace("{case}", case).replace("{sql}", sql)

        steps = [
            replace(
                step,
                text=filled(step.text),
                here=[filled(line) for line in step.here],
                there=[filled(line) for line in step.there],
            )
            for step in self.steps
        ]
        return replace(self, name=filled(self.name), steps=steps, cases=[])

    @property
    def has_two_answers(self) -> bool:
        """Tell whether any answer of ours is another than the C extension's."""
        return bool(self.only_here) or any(step.here != step.there for step in self.steps)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, without comments and empty ones."""
    number, pending = 0, ""
    for at, line in enumerate(text.splitlines(), 1):
        if line.startswith("    ") and pending:
            pending += "\n" + line[4:]
            continue
        if pending:
            yield number, pending
        number, pending = at, "" if line.startswith("#") else line
    if pending:
        yield number, pending


def _add(scenario: Scenario, line: str) -> None:
    answer, case = _ANSWER.fullmatch(line), _CASE.fullmatch(line)
    if line.startswith("differs "):
        scenario.differs.append(line.removeprefix("differs "))
    elif line.startswith("only here "):
        scenario.only_here = line.removeprefix("only here ")
    elif case:
        scenario.cases.append((case["case"], case["sql"]))
    elif answer and scenario.steps and scenario.steps[-1].verb in ">?":
        text = answer["text"] or ""
        if answer["side"] != "there":
            scenario.steps[-1].here.append(text)
        if answer["side"] != "here":
            scenario.steps[-1].there.append(text)
    else:
        scenario.steps.append(_step(line))


def _step(line: str) -> Step:
    found = _STEP.fullmatch(line)
    if found is None:
        raise ValueError(f"no step of a scenario: {line!r}")
    verb, rest = found["verb"].strip(), found["rest"]
    if verb not in {"launch", "submit"}:
        return Step(verb, rest)
    job = _JOB.fullmatch(rest)
    if job is None:
        raise ValueError(f"not `{verb} name: sql`: {line!r}")
    return Step(verb, job["sql"], job["name"], job["args"] or "")


def read(path: Path) -> list[Scenario]:
    """The scenarios of one file."""
    scenarios: list[Scenario] = []
    for number, line in _logical_lines(path.read_text()):
        if line.startswith("scenario "):
            name = line.removeprefix("scenario ")
            scenarios.append(Scenario(name, f"{path.name}:{number}"))
        else:
            _add(scenarios[-1], line)
    return [each for scenario in scenarios for each in scenario.expanded()]


def read_all(folder: Path = FOLDER) -> list[Scenario]:
    """The scenarios of all files of a folder."""
    return [scenario for path in sorted(folder.glob("*.txt")) for scenario in read(path)]
