"""Jobs that run on although their time is over: whoever comes by ends them.

The server's own statement_timeout ends nearly all of them, transaction_timeout (17 and later) what catches
that; this is for the rest.
"""

from __future__ import annotations

from pg_background import db, identity, link

_EXPIRE = "select pgbackground.expire_overdue()::pg_catalog.text"


_SOME = "select exists (select from pgbackground.job j where pgbackground.is_overdue(j)) as some"


def look() -> None:
    """The same where there is one."""
    if db.privileged(lambda: db.value(_SOME)):
        end_some()


def end_some() -> None:
    """Go a step with each overdue job (ask, cancel, end its process), in transactions of their own."""
    who = identity.own()
    db.privileged(lambda: link.attempt(lambda: [link.ask(who, _EXPIRE) for _ in range(2)]))
