"""Jobs whose launcher has gone on before they were in the registry: they arrive there within the next millisecond."""

from __future__ import annotations

from time import monotonic
from time import sleep as nap

from pg_background import db, dblink, identity, link, lock, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The worker may need the very processor that this session looks with.
NAPS_SECONDS = (0.0003, 0.0002, 0.0002, 0.0003, 0.0005, 0.001)
# So many looks for the job before one whether its worker has given up.
LOOKS = 6
# A worker may have to wait for another session of its role that registers, and says so after 3 s.
LONGEST_SECONDS = 10.0


def is_awaited(cookie: int) -> bool:
    """Was this job sent by this session and this role, and is not known to have arrived?"""
    job = session.jobs().get(cookie)
    return job is not None and job.on_its_way is not None and job.role == identity.role()


def wait(cookie: int) -> None:
    """Wait until the job is in the registry. One whose worker was lost before is recorded as such."""
    job = session.jobs()[cookie]
    _until(lambda turn: _is_there(cookie) or _has_given_up(job, turn))
    if not _is_there(cookie):
        db.privileged(lambda: _see_to(job))
    job.on_its_way = None


def has_begun(job: session.TrackedJob) -> bool:
    """Does the worker hold the job's lock, so that its end can be waited for? False: it has ended, or never began."""
    begun: list[bool] = []

    def look(turn: int) -> bool:
        begun[:] = [not lock.wait(job.lock_key, 0)]
        return begun[0] or _has_given_up(job, turn)

    _until(look)
    if begun[0]:
        job.on_its_way = None
    return begun[0]


def elsewhere(pid: int, cookie: int) -> None:
    """Is the process of this handle about to register the job? Then wait until it has."""
    sql = "select pgbackground.is_registering($1, $2)"
    _until(lambda _turn: not db.value(sql, ("int4", "int8"), (pid, cookie)) or _is_there(cookie))


def _until(condition: Any) -> None:
    deadline = monotonic() + LONGEST_SECONDS
    turn = 0
    while not condition(turn) and monotonic() < deadline:
        nap(NAPS_SECONDS[min(turn, len(NAPS_SECONDS) - 1)])
        turn += 1


def _is_there(cookie: int) -> bool:
    """Is there such a job, whoever may see it?"""
    reason = db.value("select pgbackground.why_unseen(0, $1)", ("int8",), (cookie,))
    return bool(reason == "42501")


def _has_given_up(job: session.TrackedJob, turn: int) -> bool:
    return turn % LOOKS == LOOKS - 1 and not db.privileged(lambda: _is_busy(job.on_its_way))


def _is_busy(name: str | None) -> bool:
    """Is the command still under way? A link that is gone has none."""
    try:
        return name is not None and dblink.is_busy(name)
    except db.ServerError:
        return False


def _see_to(job: session.TrackedJob) -> None:
    """The command is over and there is no job: it is forgotten already, or its worker was lost before it began."""
    for each in list(session.links()):
        if each.name == job.on_its_way:
            try:
                dblink.collect(each.name)
            except db.ServerError:
                link.give_up(each)
                break
            each.job = None
            return
    arguments = ", ".join(map(db.literal, (*job.registration, *LOST)))
    link.ask(
        identity.own_with_role(job.role),
        f"select pgbackground.register_failure({job.cookie}, {job.pid}, {arguments})::pg_catalog.text",
    )


LOST = ("57P01", "the worker ended before the job did", "It had not begun.", None)
