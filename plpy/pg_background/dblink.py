"""The calls of dblink that links are made of. Inside the door."""

from __future__ import annotations

from pg_background import db

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def connect(link: str, conninfo: str) -> None:
    """Open a link by a name."""
    db.rows("select pgbackground.dblink_connect_u($1, $2)", ("text", "text"), (link, conninfo))


def disconnect(link: str) -> None:
    """Close a link; what it was sent goes on."""
    db.rows("select pgbackground.dblink_disconnect($1)", ("text",), (link,))


def ask(link: str, sql: str) -> list[str | None]:
    """Run a query of one text column over a link and wait for its rows."""
    found = db.rows(
        "select answer from pgbackground.dblink($1, $2) as t(answer pg_catalog.text)",
        ("text", "text"),
        (link, sql),
    )
    return [each["answer"] for each in found]


def send(link: str, sql: str) -> bool:
    """Send a command over a link and do not wait. False: the link is gone."""
    sent: int = db.value(
        "select pgbackground.dblink_send_query($1, $2)", ("text", "text"), (link, sql)
    )
    return sent == 1


def is_busy(link: str) -> bool:
    """Is the command that was sent still under way?"""
    busy: int = db.value("select pgbackground.dblink_is_busy($1)", ("text",), (link,))
    return busy == 1


def collect(link: str) -> str | None:
    """Wait for the one-column answer of the query that was sent, and make the link ready for another."""
    answer: str | None = db.value(
        "select (select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)) as answer,"
        " (select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)) as nothing",
        ("text",),
        (link,),
    )
    return answer


def collect_rows(link: str, columns: int) -> list[list[str | None]]:
    """The next result of the command that was sent, with so many columns; [] after the last."""
    names = [f"c{number}" for number in range(columns)]
    definition = ", ".join(f"{name} pg_catalog.text" for name in names)
    found: Any = db.rows(
        f"select * from pgbackground.dblink_get_result($1) as t({definition})", ("text",), (link,)
    )
    return [[each[name] for name in names] for each in found]
