"""The clock: one session that starts what is due later, there only as long as something is."""

from __future__ import annotations

from time import sleep as nap

from pg_background import db, dblink, identity, link, queue

# Without a transaction and a snapshot; a signal to end waits for the end of a nap.
LONGEST_NAP_MS = 500
# Where something stays due that cannot be had, twice as long each time.
SHORTEST_NAP_MS = 5
# How often in naps it looks whether a hand-over was lost, although nothing has come due.
HEAL_TURNS = 10

_KEEP = "call pgbackground.keep_clock()"

# What logins look at, see login_begins(): held as long as the clock is kept, whoever else has it for a moment.
_SHOW = "select pg_catalog.pg_try_advisory_lock(1885823591, 1668050795)"
_HIDE = "select pg_catalog.pg_advisory_unlock_all()"


def ensure() -> bool:
    """Start the clock where it is needed and nobody keeps it. False: that was not to be done. Inside the door."""
    if not db.value("select pgbackground.clock_is_missing()"):
        return True
    # The owner first: no user can end the clock then, or take it with him when he is dropped.
    owner = db.value(_OWNER)
    if owner is not None and _starts(owner):
        return True
    own = identity.own().login
    return db.value(_MAY_KEEP, ("name",), (own,)) and _starts(own)


_OWNER = (
    "select r.rolname::pg_catalog.text from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid = n.nspowner"
    " where n.nspname = 'pgbackground' and r.rolcanlogin"
)

_MAY_KEEP = "select pg_catalog.pg_has_role($1, 'pgbackground_role', 'USAGE')"


def _starts(who: str) -> bool:
    """Could a session of this role be started that keeps the clock? It has no client: the link is closed at once."""

    def start() -> bool:
        session = link.open_link(who)
        dblink.send(session.name, _KEEP)
        link.close(session)
        return True

    return bool(link.attempt(start))


def keep() -> None:
    """The body of a procedure: keep the clock until it is no longer needed."""
    while _take() and not _keep_while_needed():
        # Whoever finds no clock from here on starts one; what came just before, this one sees.
        db.rows(_HIDE)
        db.privileged(lambda: db.value("select pgbackground.leave_clock()"))
        db.commit()
        sleep_ms = db.privileged(lambda: db.value("select pgbackground.clock_sleep()"))
        db.commit()
        if sleep_ms is None:
            return


def _take() -> bool:
    taken: bool = db.privileged(lambda: db.value("select pgbackground.take_clock()"))
    db.commit()
    return taken


def _keep_while_needed() -> bool:
    """Tick whenever something is due. Returns whether the server is stopping; False: nothing is due any more."""
    turn = 0
    in_vain = 0
    is_shown = False
    while not _server_stops():
        is_shown = is_shown or db.value(_SHOW)
        sleep_ms = db.privileged(lambda: db.value("select pgbackground.clock_sleep()"))
        db.commit()
        if sleep_ms is None:
            return False
        is_due = sleep_ms == 0
        if is_due and in_vain:
            # It is due and cannot be had: no room, or somebody holds it.
            sleep_ms = SHORTEST_NAP_MS << min(in_vain, 6)
        if sleep_ms > 0:
            nap(min(sleep_ms, LONGEST_NAP_MS) / 1000)
        turn += 1
        if sleep_ms <= LONGEST_NAP_MS or turn % HEAL_TURNS == 0:
            in_vain = 0 if tick() or not is_due else in_vain + 1
    return True


def tick() -> int:
    """Queue and start what is due, each in a transaction of its own. Returns how many jobs of schedules were queued.

    What goes wrong is tried again at the next turn.
    """
    from pg_background import tick as schedules

    queued = 0
    try:
        queued = db.privileged(schedules.tick)
        db.commit()
        db.privileged(_make_ready)
        db.commit()
        db.privileged(lambda: link.attempt(lambda: queue.start_waiting(keep_links=False)))
        db.commit()
    except db.ServerError:
        db.rollback()
    return queued


def _make_ready() -> None:
    """What is due waits for a place from here on. Lost workers are seen here, and children that nobody has released."""
    db.rows("select pgbackground.sweep(of_queue => true)")
    db.rows("select pgbackground.release_all()")
    db.rows("select pgbackground.make_ready()")


def tick_elsewhere() -> int:
    """Queue and start what is due, now and for good, over a link: nobody's transaction holds what it locks."""
    if db.value("select pg_catalog.pg_is_in_recovery()"):
        return 0
    answer = db.privileged(lambda: link.ask(identity.own(), "call pgbackground.tick(null)"))
    return int(answer[0] or 0)


def tick_here() -> int:
    """The body of a procedure: tick once, in transactions of its own. Raises 2D000."""
    db.commit()
    queued = tick()
    db.privileged(ensure)
    return queued


def _server_stops() -> bool:
    """Is the server shutting down? A smart shutdown waits for sessions that have a client, and for this one."""
    folder = db.session_memory().get("data directory")
    if folder is None:
        folder = db.privileged(
            lambda: db.value("select pg_catalog.current_setting('data_directory')")
        )
        db.session_memory()["data directory"] = folder
    try:
        with open(f"{folder}/postmaster.pid", encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes long to import)
            return file.read().split("\n")[7].strip() == "stopping"
    except (OSError, IndexError):
        return False
