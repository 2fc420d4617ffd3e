"""The table on the screen, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.measure import Figure, figure
from tests.bench.peers import HERE, C

OUT = Path("build/bench.json")


@dataclass
class Row:
    """One line of the table of targets, and what was measured for it."""

    what: str
    unit: str
    figures: dict[str, Figure] = field(default_factory=dict)
    # to whom this product is compared, and with what it has to come out
    against: str = C
    must: str = ""
    goal: str = ""
    # what is said beside, such as a count of lost jobs
    notes: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """This product's median through the other's; None where there is no other."""
        here, other = self.figures.get(HERE), self.figures.get(self.against)
        return here.median / other.median if here and other and other.median else None


def row(
    what: str,
    unit: str,
    samples: Mapping[str, Sequence[float]],
    *,
    against: str = C,
    must: str = "",
    goal: str = "",
    more_is_better: bool = False,
    notes: Sequence[str] = (),
) -> Row:
    """Make a row of samples."""
    figures = {
        name: figure(values, more_is_better=more_is_better)
        for name, values in samples.items()
        if values
    }
    return Row(what, unit, figures, against, must, goal, list(notes))


def show(measured: Row) -> None:
    """Print a row as soon as it is there."""
    targets = ", ".join(
        f"{word} {value}"
        for word, value in (("must", measured.must), ("goal", measured.goal))
        if value
    )
    print(f"\n{measured.what}" + (f"   [{targets}]" if targets else ""))
    ours = measured.figures.get(HERE)
    for name, each in measured.figures.items():
        line = (
            f"    {name:<28}{each.median:>11.3f} {measured.unit:<3} p10 {each.best:>9.3f}"
            f" p95 {each.p95:>9.3f}"
            f"   n {each.samples:<4}"
        )
        if ours and name != HERE and each.median:
            line += f"   here is {ours.median / each.median:.2f}x"
            line += f" (p10 {ours.best / each.best:.2f}x)" if each.best else ""
        print(line)
    for note in measured.notes:
        print(f"    {note}")


def write(words: str, absent: Mapping[str, str], rows: Sequence[Row], *, short: bool) -> None:
    """Write everything to build/bench.json."""
    content: dict[str, Any] = {
        "server": words,
        "short": short,
        "absent": dict(absent),
        "rows": [{**asdict(each), "ratio": each.ratio} for each in rows],
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(content, indent=2) + "\n")
