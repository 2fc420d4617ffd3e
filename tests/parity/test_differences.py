"""docs/differences.md and the scenarios name the same differences."""

from __future__ import annotations

from tests.parity.scenario import CRON_FOLDER, Scenario, read_all
from tools.product import ROOT

DOCUMENT = ROOT / "docs" / "differences.md"


def everything() -> list[Scenario]:
    return read_all() + read_all(CRON_FOLDER)


def headings() -> list[str]:
    lines = DOCUMENT.read_text().splitlines()
    return [line.removeprefix("### ") for line in lines if line.startswith("### ")]


def names(scenarios: list[Scenario]) -> set[str]:
    return {name for scenario in scenarios for name in scenario.differs}


def test_every_difference_of_the_scenarios_is_explained() -> None:
    assert names(everything()) - set(headings()) == set()


def test_every_explained_difference_is_proved_by_a_scenario() -> None:
    assert set(headings()) - names(everything()) == set()


def test_a_scenario_with_two_answers_says_why() -> None:
    unexplained = [
        f"{scenario.place} {scenario.name}"
        for scenario in everything()
        if scenario.has_two_answers and not scenario.differs
    ]
    assert unexplained == []


def test_a_scenario_that_names_a_difference_has_two_answers() -> None:
    equal = [
        f"{scenario.place} {scenario.name}"
        for scenario in everything()
        if scenario.differs and not scenario.has_two_answers
    ]
    assert equal == []


def test_every_difference_is_explained_once() -> None:
    assert len(headings()) == len(set(headings()))


def test_there_are_as_many_scenarios_as_were_promised() -> None:
    assert len({scenario.place for scenario in read_all()}) >= 120
