"""Composite literals: how rows are kept."""

from __future__ import annotations


def parse(literal: str) -> list[str | None]:
    """The columns of a composite literal such as `(1,"a, b",)`; an empty place is a null."""
    inner = literal[1:-1]
    if '"' not in inner and "\\" not in inner:
        return [text or None for text in inner.split(",")]
    columns: list[str | None] = []
    place, length = 0, len(inner)
    while place <= length:
        if inner[place : place + 1] == '"':
            value, place = _quoted(inner, place + 1)
            columns.append(value)
        else:
            end = inner.find(",", place)
            end = length if end < 0 else end
            columns.append(inner[place:end] or None)
            place = end
        place += 1
    return columns


def _quoted(text: str, start: int) -> tuple[str, int]:
    """A quoted column from behind its opening quote: its value, and the place behind its closing one."""
    pieces = []
    place = start
    while True:
        mark = text.find('"', place)
        escape = text.find("\\", place, mark)
        if escape >= 0:
            pieces.append(text[place:escape] + text[escape + 1])
            place = escape + 2
        elif text[mark + 1 : mark + 2] == '"':
            pieces.append(text[place : mark + 1])
            place = mark + 2
        else:
            pieces.append(text[place:mark])
            return "".join(pieces), mark + 1
