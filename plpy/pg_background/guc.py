"""The settings that this session has set, read from the server itself.

A setting with a dot that no library has declared (`app.tenant`) is in no view and in no SHOW ALL: SQL
can read it by name only. The server has a list of all that differs from the defaults, because it hands
it to parallel workers, and two functions of it make that list (EstimateGUCStateSpace and
SerializeGUCState, the same in PostgreSQL 14 to 18). They are called here as the server calls them. It is
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
# Behind each name, value and file name: source and context, from 15 on also the role that set it.
TRAILER_BYTES = 8
TRAILER_BYTES_15 = 12
FROM_15 = 150000
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


def own() -> list[tuple[str, str]]:
    """Name and value of each setting that came with this session's connection or was set in it, and a few more."""
    serialize = _serializer()
    if serialize is None:
        return []
    facts = session.remembered("server") or session.remember("server", db.server_facts())
    trailer = TRAILER_BYTES_15 if facts["version"] >= FROM_15 else TRAILER_BYTES
    return parse(serialize(), trailer, _codec(facts["encoding"]))


def parse(raw: bytes, trailer: int, codec: str) -> list[tuple[str, str]]:
    """The own settings in a serialized list: records of name, value, file, [line], source, context, role."""
    length = int.from_bytes(raw[:HEADER_BYTES], "little")
    found = []
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
            found.append((name, raw[name_end + 1 : value_end].decode(codec, "replace")))
        place = binary + trailer
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
