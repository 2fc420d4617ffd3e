"""Time zones as the server knows them."""

from __future__ import annotations

from pg_background import db
from pg_background.due import Zone, unknown_zone
from pg_background.errors import bad_value

# A session's zones and names, asked once each.
_zones: dict[str, Zone] = {}
_names: dict[str, str] = {}


def named(name: str) -> Zone:
    """The zone of a name that `checked` has returned."""
    found = _zones.get(name)
    if found is None:
        found = _zones[name] = Zone(name, _changes)
    return found


def checked(name: str | None) -> str:
    """A zone's name as the tz database writes it; the session's own for None. Raises 22023."""
    wanted = db.value("select pg_catalog.current_setting('timezone')") if name is None else name
    if wanted not in _names:
        found = db.privileged(
            lambda: db.value("select pgbackground.zone_name($1)", ("text",), (wanted,))
        )
        if found is None and name is None:
            raise bad_value(
                f'timezone must be given: the session\'s own, "{wanted}", has no name that lasts',
                "For example: timezone => 'Europe/Berlin'.",
            )
        if found is None:
            raise unknown_zone(wanted)
        _names[wanted] = found
    return _names[wanted]


def _changes(name: str, first: int, last: int) -> list[tuple[int, int]]:
    """Where the offset of a zone changes, as Zone wants it. Raises 22023."""
    try:
        rows = db.privileged(
            lambda: db.rows(
                "select c.moment, c.ahead from pgbackground.zone_changes($1, $2, $3) c",
                ("text", "int8", "int8"),
                (name, first, last),
            )
        )
    except db.ServerError as error:
        if db.sqlstate_of(error) != "22023":
            raise
        raise unknown_zone(name) from None
    return [(row["moment"], row["ahead"]) for row in rows]
