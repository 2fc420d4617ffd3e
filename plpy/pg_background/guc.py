"""The settings that this session has set, read from the server itself.

A setting with a dot that no library has declared (`app.tenant`) is in no view and in no SHOW ALL: SQL
can read it by name only. The server has a list of all that differs from the defaults, because it hands
it to parallel workers, and two functions of it make that list (EstimateGUCStateSpace and
SerializeGUCState, the same in PostgreSQL 15 to 18). They are called here as the server calls them. It is
also a hundred times faster than pg_settings. Where they cannot be called, `available` is false.
"""

from __future__ import annotations

from pg_background import db, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# GucSource of guc.h: what a client asked for when it connected, and what was set since.
OWN_SOURCES = (9, 13)
# A worker logs in with other values of these, so that its own work is not subject to them: whoever set them (role,
# database, configuration file), the job must be told.
WHOEVER_SET_THEM = (
    "default_transaction_isolation",
    "default_transaction_read_only",
    "lock_timeout",
    "statement_timeout",
)
# Behind each name, value and file name: source, context, and the role that set it.
TRAILER_BYTES = 12
LINE_NUMBER_BYTES = 4
HEADER_BYTES = 8
FUNCTIONS = ("EstimateGUCStateSpace", "SerializeGUCState")
# Where Python has no codec, names and values of ASCII are still read.
CODECS = {
    "SQL_ASCII": "utf-8",
    "UTF8": "utf-8",
    "MULE_INTERNAL": "utf-8",
    "EUC_TW": "utf-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
}


def available() -> bool:
    """Can the server's own list be had here?"""
    return _serializer() is not None


def own() -> list[tuple[str, str, int | None]]:
    """Name, value and setter (a role's oid) of each setting that this session's connection or the session has set."""
    serialize = _serializer()
    if serialize is None:
        return []
    facts = session.remembered("server") or session.remember("server", _server())
    return parse(serialize(), _codec(facts["encoding"]))


def _server() -> dict[str, Any]:
    """The encoding of this database."""
    found: dict[str, Any] = db.rows(
        "select pg_catalog.getdatabaseencoding()::pg_catalog.text as encoding"
    )[0]
    return found


def parse(raw: bytes, codec: str) -> list[tuple[str, str, int | None]]:
    """The own settings in a serialized list: records of name, value, file, [line], source, context, role."""
    length = int.from_bytes(raw[:HEADER_BYTES], "little")
    found: list[tuple[str, str, int | None]] = []
    place, end = HEADER_BYTES, HEADER_BYTES + length
    while place < end:
        name_end = raw.index(b"\0", place)
        value_end = raw.index(b"\0", name_end + 1)
        file_end = raw.index(b"\0", value_end + 1)
        binary = file_end + 1
        if file_end > value_end + 1:
            binary += LINE_NUMBER_BYTES
        name = raw[place:name_end].decode(codec, "replace")
        source = int.from_bytes(raw[binary : binary + 4], "little")
        if source in OWN_SOURCES or name in WHOEVER_SET_THEM:
            value = raw[name_end + 1 : value_end].decode(codec, "replace")
            setter = int.from_bytes(raw[binary + 8 : binary + TRAILER_BYTES], "little")
            found.append((name, value, setter))
        place = binary + TRAILER_BYTES
    return found


def _codec(encoding: str) -> str:
    """Python's name for an encoding of the server."""
    return CODECS.get(encoding) or encoding.replace("WIN", "cp").replace("_", "-").lower()


def _serializer() -> Callable[[], bytes] | None:
    """A function that returns the serialized list; kept for the session."""
    found = session.remembered("serializer")
    if found is None:
        found = session.remember("serializer", (_link_serializer(),))
    serialize: Callable[[], bytes] | None = found[0]
    return serialize


def _link_serializer() -> Callable[[], bytes] | None:
    """The two functions, through what ctypes itself is made of: importing ctypes takes up to 20 ms, this takes 1."""
    try:
        parts: Any = __import__("_ctypes")
        server = parts.dlopen(None, 0)
        addresses = [parts.dlsym(server, name) for name in FUNCTIONS]
        plain = parts._SimpleCData  # noqa: SLF001 (what ctypes itself builds on)
        flags = parts.FUNCFLAG_CDECL | parts.FUNCFLAG_PYTHONAPI
        char: Any = type("char", (plain,), {"_type_": "c"})
        size_t: Any = type("size_t", (plain,), {"_type_": "L"})
        function: Any = type("function", (parts.CFuncPtr,), {"_flags_": flags, "_restype_": size_t})
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    estimate, serialize = map(function, addresses)

    def read() -> bytes:
        size = estimate()
        buffer = (char * size)()
        serialize(size_t(size), buffer)
        raw: bytes = buffer.raw
        return raw

    return read
