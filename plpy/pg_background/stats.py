"""stats: what has become of this session's jobs."""

from __future__ import annotations

from pg_background import identity, registry, session, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Jobs are counted when they have ended; those not yet known to have are few, or counted when they are many.
MOST_PENDING = 1000
KINDS = ("stopped", "error", "canceled", "timed_out")


class Counters:
    """Counts of one session; jobs leave `pending` when their end is known."""

    __slots__ = ("counts", "elapsed_ms", "launched", "pending", "timeouts")

    def __init__(self) -> None:
        self.launched = 0
        self.pending: set[int] = set()
        self.counts = dict.fromkeys(KINDS, 0)
        self.elapsed_ms = 0.0
        self.timeouts = 0


def counters() -> Counters:
    """This session's counters."""
    found: Counters | None = session.remembered("stats")
    return found or session.remember("stats", Counters())


def launched(cookie: int) -> None:
    """A job was launched."""
    of_session = counters()
    of_session.launched += 1
    of_session.pending.add(cookie)
    if len(of_session.pending) > MOST_PENDING:
        settle(of_session)


def timed_out() -> None:
    """A caller's own time-out canceled a job: it counts under both."""
    counters().timeouts += 1


def settle(of_session: Counters) -> None:
    """Count the jobs that have ended since the last time."""
    for cookie in list(of_session.pending):
        row = registry.look(cookie)
        if row is not None and row["live"]:
            continue
        of_session.pending.discard(cookie)
        if row is not None:
            kind = "timed_out" if row["timed_out"] else row["state"]
            of_session.counts[kind] += 1
            of_session.elapsed_ms += row["elapsed_ms"] or 0


def stats() -> tuple[Any, ...]:
    """The columns of pg_background_stats."""
    of_session = counters()
    settle(of_session)
    counts = of_session.counts
    ended = sum(counts.values())
    options = settings.Options(identity.caller())
    return (
        of_session.launched,
        counts["stopped"],
        counts["error"],
        counts["canceled"],
        counts["timed_out"] + of_session.timeouts,
        len(of_session.pending),
        of_session.elapsed_ms / ended if ended else 0.0,
        options.max_workers,
    )
