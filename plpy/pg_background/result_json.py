"""result_json: the rows of a job as JSON objects, without a column list.

Rows are kept as the text that PostgreSQL writes for them. The texts are put together to JSON here,
and nothing of the job's owner (types, casts, functions) runs with the reader's rights.
"""

from __future__ import annotations

import json

from pg_background import result
from pg_background import row as composite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def result_json(pid: int, cookie: int) -> Iterator[str]:
    """Wait for the end, then yield an object a row. Raises as `result`, except for column lists."""
    row = result.succeeded(pid, cookie)
    if row["columns"] is None:
        return
    members: list[Member] | None = None
    for literal in result.literals(row):
        values = composite.parse(literal)
        if members is None:
            members = _members(_columns(row, len(values)))
        yield "{" + ", ".join([member(values) for member in members]) + "}"


def _columns(row: dict[str, Any], width: int) -> list[list[str]]:
    """Names and kinds of the columns.

    What a CALL returns has no names here: they are those that PostgreSQL gives to VALUES.
    """
    if row["columns"]:
        found: list[list[str]] = row["columns"]
        return found
    if row["mode"] == "inline":
        return [[], []]
    return [[f"column{number}" for number in range(1, width + 1)], ["text"] * width]


def _members(columns: list[list[str]]) -> list[Member]:
    """The members of a row's object, each a function of the row's values."""
    names, kinds = columns
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    writers = [_writer(kind) for kind in kinds]
    return [_member(name, found, writers) for name, found in places.items()]


def _member(name: str, places: list[int], writers: list[Writer]) -> Member:
    """A member; the values of columns that share its name become an array."""
    start = _text(name) + ": "
    place = places[0]
    write = writers[place]

    def single(values: list[str | None]) -> str:
        value = values[place]
        return start + ("null" if value is None else write(value))

    def several(values: list[str | None]) -> str:
        found = [(writers[each], values[each]) for each in places]
        texts = ["null" if value is None else writer(value) for writer, value in found]
        return f"{start}[{', '.join(texts)}]"

    return single if len(places) == 1 else several


_text = json.encoder.encode_basestring


def _json(text: str) -> str:
    """A number or JSON as it is; what is neither (NaN, Infinity) as a text."""
    if text.isdigit() and text[0] != "0":
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
        # Characters that json may hold and jsonb may not: NUL, half a surrogate pair.
        if "\\u" in text and "\\u0000" in json.dumps(value, ensure_ascii=False).encode().decode():
            return _text(text)
    except (ValueError, RecursionError):
        return _text(text)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _boolean(text: str) -> str:
    return {"t": "true", "f": "false"}.get(text) or _json(text)


def _writer(kind: str) -> Writer:
    """The function that writes a column's values as JSON."""
    element = {"json": _json, "boolean": _boolean}.get(kind.removesuffix("[]"), _text)
    return _array_of(element) if kind.endswith("[]") else element


def _array_of(element: Writer) -> Writer:
    """A writer of PostgreSQL's arrays, of one dimension or several."""

    def write(text: str) -> str:
        # [0:2]={1,2,3}: the bounds are no part of the values.
        inner = text[text.index("={") + 1 :] if text.startswith("[") else text
        return _array(inner, element)

    return write


def _array(text: str, element: Writer) -> str:
    """`{1,NULL,"a b"}` as JSON."""
    pieces: list[str] = []
    place, length = 0, len(text)
    while place < length:
        character = text[place]
        if character == "{":
            pieces.append("[")
        elif character == "}":
            pieces.append("]")
        elif character == '"':
            value, place = _quoted(text, place + 1)
            pieces.append(element(value))
            continue
        elif character == ",":
            pieces.append(", ")
        else:
            end = place
            while text[end] not in ",}":
                end += 1
            word = text[place:end]
            pieces.append("null" if word == "NULL" else element(word))
            place = end
            continue
        place += 1
    return "".join(pieces)


def _quoted(text: str, place: int) -> tuple[str, int]:
    """A quoted element from behind its opening quote: its value, and the place behind its closing one."""
    start = place
    escaped = False
    while text[place] != '"':
        if text[place] == "\\":
            escaped = True
            place += 1
        place += 1
    value = text[start:place]
    if escaped:
        value = _unescaped(value)
    return value, place + 1


def _unescaped(text: str) -> str:
    """Without the backslashes that guard a character."""
    pieces = []
    place = 0
    while place < len(text):
        if text[place] == "\\":
            place += 1
        pieces.append(text[place])
        place += 1
    return "".join(pieces)


if TYPE_CHECKING:
    Writer = Callable[[str], str]
    Member = Callable[[list[str | None]], str]
