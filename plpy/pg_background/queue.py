"""The queue: starting jobs that had to wait for a place. Inside the door.

There is no daemon. A worker that ends starts the next job, in its own session where it can; a launch that
was queued and a wait for a queued job look, too, so that a lost hand-over heals.
"""

from __future__ import annotations

from time import sleep as nap

from pg_background import db, handover, identity, link
from pg_background.errors import Gone, Refusal
from pg_background.identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST_AT_ONCE = 64
# A worker that starts others beside those that drain the queue of short jobs would only take the processor from them.
MOST_OF_A_WORKER = 16
MOST_OF_A_LOOK = 4
MOST_LOOKS = 100
# Longer than others are kept from starting, see becomes_starter().
LOOK_AGAIN_SECONDS = 0.15
_IS_STARTER = (
    "select exists (select from pgbackground.starter s join pg_roles r on r.oid = s.login"
    " where r.rolname = session_user and s.since > clock_timestamp() - interval '1 second')"
)
# So often in a row a job may turn out to be somebody else's already, before this session leaves the queue to those.
MOST_MISSED = 4
# What a link says of a login that has lost the job's role, or of a role that is gone; and of a row that others hold.
NO_SUCH_RIGHT = ("42501", "42704")
BUSY = "55P03"
CONNECTIONS_ARE_LOST = "08006"
# dblink does not tell the SQLSTATE of a refused login, only what the server said, after this word. What begins and ends
# like this is 28xxx, 3D000 or 42501, the server's last word on the login. Anything else may pass, and so may what the
# server says in another language: the job stays in the queue, and the doctor tells the reason.
SERVER_SAID = "FATAL:  "
FINAL_WORDS = (
    ('role "', '" does not exist'),
    ('role "', '" is not permitted to log in'),
    ("password authentication failed for user ", ""),
    ("Peer authentication failed for user ", ""),
    ("Ident authentication failed for user ", ""),
    ("no pg_hba.conf entry for ", ""),
    ("pg_hba.conf rejects connection for ", ""),
    ('database "', '" does not exist'),
    ('permission denied for database "', ""),
)

_NEXT = (
    "select j.cookie, j.sql,"
    " j.setting_values[array_position(j.setting_names, 'statement_timeout')] as statement_timeout,"
    " j.login::pg_catalog.int8 as login, l.rolname::pg_catalog.text as login_name,"
    " r.rolname::pg_catalog.text as role_name from pgbackground.job j"
    " left join pg_catalog.pg_roles l on l.oid = j.login left join pg_catalog.pg_roles r on r.oid = j.role"
    # A subquery is asked once, a volatile function for every row.
    " where j.cookie = (select pgbackground.next_queued($1::pg_catalog.oid[], true))"
)
_START = "call pgbackground.start_queued()"


def start_waiting(
    *, keep_links: bool = True, most: int | None = None
) -> list[tuple[dict[str, Any], Refusal]]:
    """Start queued jobs as long as there is room. Returns those that could not be, each with the reason.

    keep_links: the session is a launcher's and will use its links again; a worker's would only add up.
    A transaction with an old snapshot has one of its workers do it, which sees the queue as it is.
    What is due later gets its clock.
    """
    from pg_background import clock

    if keep_links and identity.snapshot_is_old():
        link.ask(identity.own(), _START)
        return []
    refused: list[tuple[dict[str, Any], Refusal]] = []
    crowded: list[int] = []
    missed = 0
    for _ in range(most or (MOST_AT_ONCE if keep_links else MOST_OF_A_WORKER)):
        job = _next(crowded)
        if job is None or missed == MOST_MISSED:
            break
        try:
            missed = 0 if _start(job, keep_links) else missed + 1
        except Refusal as refusal:
            refused.append((job, refusal))
            if refusal.sqlstate == CONNECTIONS_ARE_LOST:
                break
            if is_final(refusal):
                _refuse(job, refusal)
            else:
                crowded.append(job["login"])
    clock.ensure()
    return refused


def look_again() -> None:
    """Who has become a starter keeps others from it for a while: what has come meanwhile is his to start.

    The end of a procedure: it commits.
    """
    if not db.privileged(lambda: db.value(_IS_STARTER)):
        return
    for _ in range(MOST_LOOKS):
        db.commit()
        nap(LOOK_AGAIN_SECONDS)
        if db.privileged(lambda: _next(())) is None:
            return
        db.privileged(lambda: start_waiting(keep_links=False, most=MOST_OF_A_LOOK))


def _next(crowded: Sequence[int]) -> dict[str, Any] | None:
    """The queued job that is to start next, of other logins than these, as far as can be seen without a lock."""
    return db.row(_NEXT, ("int8[]",), (list(crowded),))


def pids_in_the_way(cookie: int) -> list[int]:
    """The processes of the running jobs whose places a queued job waits for, as they are at this moment."""
    sql = "select pid::pg_catalog.text from pgbackground.in_the_way({}) pid"
    if identity.snapshot_is_old():
        found = link.ask(identity.own(), sql.format(cookie))
    else:
        found = [each["pid"] for each in db.rows(sql.format("$1"), ("int8",), (cookie,))]
    return [int(pid) for pid in found if pid]


def is_final(refusal: Refusal) -> bool:
    """Will the job never start? Only the server's own word on its login or its role says so."""
    if refusal.sqlstate in NO_SUCH_RIGHT:
        return True
    _, said, words = refusal.fields.get("detail", "").rpartition(SERVER_SAID)
    first = words.partition("\n")[0]
    return bool(said) and any(
        first.startswith(beginning) and first.endswith(end) for beginning, end in FINAL_WORDS
    )


def _start(job: dict[str, Any], keep_links: bool) -> bool:
    """Open a worker for a queued job. False: somebody else was faster, or the place is taken again."""
    login, role = job["login_name"], job["role_name"]
    if login is None or role is None:
        raise Refusal("the job's role does not exist any longer", "42704")
    own = keep_links and login == identity.own().login
    taken: list[bool] = []

    def take(over: link.Link) -> None:
        taken[:] = [_take(over, job)]

    try:
        link.over(Identity(login, role, own_login=own), take)
    except db.ServerError as error:
        state = db.sqlstate_of(error)
        if state == BUSY:
            return False
        if state not in NO_SUCH_RIGHT:
            raise
        raise Refusal(db.server_message(error), state) from None
    return taken[0]


def _take(over: link.Link, job: dict[str, Any]) -> bool:
    """Make the link's other end the job's worker, and have it begin."""
    text = f"select pgbackground.take({job['cookie']})::pg_catalog.text"
    key, timeout_ms, unfit = handover.fields(over.ask(text))
    if unfit == "t":
        raise Gone
    if not key:
        return False
    limits = handover.Limits(int(timeout_ms), job["statement_timeout"])
    command = handover.text(job["sql"], (job["cookie"], None, None, limits.clock_ms > 0))
    handover.send(over, int(key), command, limits)
    return True


def _refuse(job: dict[str, Any], refusal: Refusal) -> None:
    """The job can never start: that is its outcome."""
    fields = refusal.fields
    text = "select pgbackground.refuse($1, $2, $3, $4, $5)"
    db.value(
        text,
        ("int8", "text", "text", "text", "text"),
        (job["cookie"], refusal.sqlstate, str(refusal), fields.get("detail"), fields.get("hint")),
    )
