"""Taking times: two things are run in turns, so that a slow minute of the machine hits both."""

from __future__ import annotations

import math
import os
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

WARM_UP = 5


@dataclass(frozen=True)
class Effort:
    """How often things are done, and how large they are."""

    short: bool
    # samples of what takes less than half a second, and of what takes longer
    quick: int
    slow: int
    # rows of the wide result, of the memory measurements, of the filled registry
    rows: int
    rows_of_memory: int
    history: int
    jobs_in_a_row: int
    jobs_each: int


LONG = Effort(False, 200, 20, 1_000_000, 10_000_000, 1_000_000, 20_000, 20)
SHORT = Effort(True, 5, 1, 20_000, 200_000, 10_000, 200, 2)


def chosen_effort() -> Effort:
    """Return the short form where PGBACKGROUND_SHORT is set, else the long one."""
    return SHORT if os.environ.get("PGBACKGROUND_SHORT") else LONG


@dataclass(frozen=True)
class Figure:
    """What the samples of one thing come to."""

    median: float
    p95: float
    # the 10th percentile: what it takes when nobody else wants the processor
    best: float
    samples: int


def figure(samples: Sequence[float], *, more_is_better: bool = False) -> Figure:
    """Return the median and the 95th percentile: what 95 % of the samples are at least as good as."""
    ordered = sorted(samples, reverse=more_is_better)
    p95, best = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.95, 0.1))
    return Figure(statistics.median(ordered), p95, best, len(ordered))


def in_turns(
    actions: Mapping[str, Callable[[], float]], count: int, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Do each action `count` times, one of each in every round; return what each of them returned.

    Every round has an order of its own: a peer whose processes are still ending when its call is over
    would always be paid for by the same neighbour.

    A peer whose call fails is left out from then on, and that is printed; a call of this product that
    fails is the end of the measurement. The first action is this product's.

    warm_up: rounds before that, whose times are forgotten.
    """
    ours = next(iter(actions))
    running = dict(actions)
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(-warm_up, count):
        order = list(running.items())
        random.Random(turn).shuffle(order)  # noqa: S311
        for name, action in order:
            try:
                value = action()
            except psycopg.Error as error:
                if name == ours:
                    raise
                del running[name]
                print(f"\n{name} failed after {len(samples[name])} samples: {error}".rstrip())
                continue
            if turn >= 0:
                samples[name].append(value)
    return samples
