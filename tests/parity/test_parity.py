"""Every scenario is answered as it is written down, here and by the C extension."""

from __future__ import annotations

import pytest

from tests.parity.player import Player, Side
from tests.parity.scenario import Scenario, read_all

SCENARIOS = read_all()


def _check(scenario: Scenario, side: Side) -> None:
    player = Player(side)
    try:
        for step, answer in player.play(scenario):
            expected = [player.filled(line) for line in step.expected(side.name)]
            assert answer.shown_as(expected) == expected, step.text
    finally:
        player.end()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_answers_here(scenario: Scenario, here: Side) -> None:
    _check(scenario, here)


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in SCENARIOS if not scenario.only_here],
    ids=lambda scenario: scenario.name,
)
def test_it_answers_there(scenario: Scenario, there: Side) -> None:
    _check(scenario, there)
