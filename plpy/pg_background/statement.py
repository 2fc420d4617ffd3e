"""SQL text as PostgreSQL's lexer sees it: statements apart, and what one statement is.

The work is done on a statement's *code*: its text in lower case, with a single `'` for each
literal, a single `"` for each quoted identifier and a space for each comment. Keywords can be
looked for in it without ever being deceived by what somebody quoted.

Nothing is imported and no character is visited by a Python loop: str.find and str.count hop
from one quote to the next. The cost is a few passes of C code and, where a text is not plain,
about a microsecond for each quote or comment in it.
"""

from __future__ import annotations

from pg_background.tag import (
    ROWS,
    TOP,
    WHITE_SPACE,
    continues_word,
    describe,
    flatten_rows,
    full_tag,
    has_word,
    head_words,
)

__all__ = ["Statement", "balanced", "call_target", "classify", "full_tag", "split"]

_QUOTES = ("'", '"', "$", "--", "/*")
_WRITING_WORDS = ("insert", "update", "delete", "merge")

# CALL inside DO is on the list because the procedure may commit, and can do so only at top level.
_COMMITTING_WORDS = ("commit", "rollback", "call")


class Statement:
    r"""One classified statement.

    text: the statement itself. tag: its bare command tag, '' for a text without a command.
    kind: one of the constants of pg_background.tag. wrappable: whether it reads only and may
    stand as `select ... from (<text>\n) t`.
    """

    __slots__ = ("kind", "tag", "text", "wrappable")

    def __init__(self, text: str, tag: str, kind: str, wrappable: bool) -> None:
        self.text = text
        self.tag = tag
        self.kind = kind
        self.wrappable = wrappable

    def __repr__(self) -> str:
        return f"Statement({self.text!r}, {self.tag!r}, {self.kind!r}, {self.wrappable!r})"


def split(text: str, standard_conforming_strings: bool = True) -> list[str]:
    """Return the statements of a SQL text, in order, as psql separates them.

    text: any SQL. standard_conforming_strings: the setting of the session that will run it.
    Each comes back verbatim, without its semicolon, leading comments and surrounding white
    space; empty ones are dropped. Whatever follows an unterminated quote, comment or parenthesis
    is one statement: the server is better at explaining a syntax error.
    """
    scanner: _Scanner | None = None
    statements = []
    position = 0
    while True:
        position = _skip_blank(text, position)
        end = text.find(";", position)
        if end < 0:
            break
        if not _ends_cleanly(text[position:end], standard_conforming_strings):
            if scanner is None:
                scanner = _Scanner(text, (*_QUOTES, ";"), standard_conforming_strings)
            end = _statement_end(scanner, position)
        if end > position:
            statements.append(text[position:end].rstrip(WHITE_SPACE))
        position = end + 1
    rest = text[position:].rstrip(WHITE_SPACE)
    if rest:
        statements.append(rest)
    return statements


def balanced(statement: str, standard_conforming_strings: bool = True) -> bool:
    """Tell whether a statement put in parentheses stays within them and lets them be closed.

    True when its own parentheses pair up, never closing one that it did not open, and no
    quote or comment is left open.
    """
    code, closed = _code(statement, standard_conforming_strings)
    return closed and _parentheses_pair_up(code)


def classify(statement: str, standard_conforming_strings: bool = True) -> Statement:
    """Say what a single statement is: its command tag, its kind, whether it may be wrapped.

    statement: one element of split(). standard_conforming_strings: as for split().
    """
    code, closed = _code(statement, standard_conforming_strings)
    code = code.lower()
    tag, kind = describe(code)
    if tag == "DO" and _may_commit(statement, code, standard_conforming_strings):
        kind = TOP
    wrappable = (
        tag == "SELECT"
        and kind == ROWS
        and closed
        and ";" not in code
        and not any(has_word(code, word) for word in _WRITING_WORDS)
        and _parentheses_pair_up(code)
    )
    return Statement(statement, tag, kind, wrappable)


def call_target(statement: str) -> str | None:
    """Return the name that a CALL calls, as it is written there; None for another statement."""
    start = _skip_blank(statement, 0)
    end_of_verb = start + len("call")
    if statement[start:end_of_verb].lower() != "call" or continues_word(statement, end_of_verb):
        return None
    scanner = _Scanner(statement, (*_QUOTES, "("), standard_conforming=True)
    name = ""
    position = end_of_verb
    while True:
        mark = scanner.find(position)
        name += statement[position:mark]
        if statement[mark : mark + 1] in ("", "("):
            break
        position = scanner.skip(mark)
        if position < 0:
            return None
        if statement[mark] not in "-/":
            name += statement[mark:position]
    return name.strip(WHITE_SPACE) or None


class _Scanner:
    """Hops through a text from mark to mark, never back, searching each stretch once per mark.

    The next place of every mark is remembered: searching anew at each hop would make a text
    that holds one mark often and another never cost its length squared.
    """

    __slots__ = ("backslashes", "fresh", "line_end", "places", "text")

    def __init__(self, text: str, marks: tuple[str, ...], standard_conforming: bool) -> None:
        self.text = text
        self.places = {mark: place for mark in marks if (place := text.find(mark)) >= 0}
        self.places[""] = len(text)
        self.line_end = -1
        self.fresh = 0  # no word that stands here began before
        self.backslashes = not standard_conforming

    def find(self, position: int) -> int:
        """Return the place of the first mark at or after position, or the length of the text."""
        places = self.places
        for mark, place in places.items():
            if place < position:
                found = self.text.find(mark, position)
                places[mark] = found if found >= 0 else len(self.text)
        return min(places.values())

    def skip(self, mark: int) -> int:
        """Return the place behind the quote or comment that begins at mark; -1 if it never ends.

        A dollar sign that opens nothing is passed over alone.
        """
        character = self.text[mark]
        if character == "'":
            end = self._skip_literal(mark)
        elif character == "$":
            if not self._opens_dollar_quote(mark):
                return mark + 1
            end = _skip_dollar_quote(self.text, mark)
        elif character == "-":
            end = self._skip_line(mark)
        elif character == "/":
            end = _skip_block_comment(self.text, mark)
        else:
            # A doubled quote inside shows as the start of a second quoted part: just as good.
            end = self.text.find(character, mark + 1) + 1 or -1
        self.fresh = end
        return end

    def _skip_literal(self, mark: int) -> int:
        text = self.text
        if not self._escapes(mark):
            return text.find("'", mark + 1) + 1 or -1
        end = _skip_escaped(text, mark + 1)
        # A literal that goes on in the next line keeps its backslashes' meaning there.
        while end >= 0:
            following = _skip_lines(text, end)
            if following < 0 or not text.startswith("'", following):
                break
            end = _skip_escaped(text, following + 1)
        return end

    def _escapes(self, mark: int) -> bool:
        """Tell whether backslashes escape in the literal whose quote stands at mark."""
        prefix = self.text[mark - 1 : mark].lower()
        if prefix not in ("e", "b", "x") or self._in_word(mark - 2):
            return self.backslashes
        return prefix == "e"

    def _opens_dollar_quote(self, mark: int) -> bool:
        tag_end = self.text.find("$", mark + 1)
        return (
            tag_end >= 0 and not self._in_word(mark - 1) and _is_tag(self.text[mark + 1 : tag_end])
        )

    def _in_word(self, place: int) -> bool:
        return place >= self.fresh and continues_word(self.text, place)

    def _skip_line(self, mark: int) -> int:
        if self.line_end < mark:
            end = self.text.find("\n", mark)
            self.line_end = end if end >= 0 else len(self.text)
        carriage_return = self.text.find("\r", mark, self.line_end)
        return carriage_return if carriage_return >= 0 else self.line_end


def _statement_end(scanner: _Scanner, start: int) -> int:
    """Return the place of the semicolon that ends a statement, or the length of the text."""
    text = scanner.text
    body = _RoutineBody() if _creates(text, start) else None
    parentheses = 0
    position = start
    while True:
        mark = scanner.find(position)
        parentheses += text.count("(", position, mark) - text.count(")", position, mark)
        if body:
            body.parts.append(text[position:mark])
        if mark == len(text):
            return mark
        if text[mark] != ";":
            position = scanner.skip(mark)
            if position < 0:
                return len(text)
            if body:
                body.parts.append(_substitute(text[mark], position - mark))
        elif parentheses > 0 or (body and body.is_open()):
            position = mark + 1
        else:
            return mark


class _RoutineBody:
    """Follows BEGIN ATOMIC ... END through a CREATE FUNCTION or CREATE PROCEDURE.

    parts: the code since the last semicolon. CASE counts too, because END closes it as well.
    """

    __slots__ = ("blocks", "parts", "previous", "routine")

    def __init__(self) -> None:
        self.blocks = 0
        self.previous = ""
        self.routine: bool | None = None
        self.parts: list[str] = []

    def is_open(self) -> bool:
        """Tell whether the semicolon behind the parts stands within the body."""
        words = "".join(self.parts).lower().translate(_WORD_BREAKS).split()
        self.parts.clear()
        if self.routine is None:
            self.routine = "function" in words[:4] or "procedure" in words[:4]
        if self.routine:
            for word in words:
                self._take(word)
        return self.blocks > 0

    def _take(self, word: str) -> None:
        # Behind AS or a dot even END is only the name of a column.
        if self.previous not in ("as", "."):
            if not self.blocks:
                self.blocks = int(word == "atomic" and self.previous == "begin")
            elif word == "case":
                self.blocks += 1
            elif word == "end":
                self.blocks -= 1
        self.previous = word


def _ends_cleanly(piece: str, standard_conforming: bool) -> bool:
    """Tell whether the semicolon behind a piece of text surely ends the statement."""
    code = _code_by_parity(piece, standard_conforming)
    return (
        code is not None
        and code.count("(") <= code.count(")")
        and not (_creates(piece, 0) and "atomic" in code.lower())
    )


def _creates(text: str, start: int) -> bool:
    return text[start : start + 6].lower() == "create"


def _code(text: str, standard_conforming: bool) -> tuple[str, bool]:
    """Return the code of a statement, in its own letter case, and whether no quote is left open."""
    code = _code_by_parity(text, standard_conforming)
    if code is not None:
        return code, True
    scanner = _Scanner(text, _QUOTES, standard_conforming)
    parts = []
    position = 0
    while True:
        mark = scanner.find(position)
        parts.append(text[position:mark])
        if mark == len(text):
            return "".join(parts), True
        position = scanner.skip(mark)
        if position < 0:
            return "".join(parts), False
        parts.append(_substitute(text[mark], position - mark))


def _substitute(character: str, length: int) -> str:
    """Return what stands in the code for a quoted part or comment of that length."""
    if character in "-/":
        return " "
    if character == "$":
        return "'" if length > 1 else "$"
    return character


def _code_by_parity(text: str, standard_conforming: bool) -> str | None:
    """Return the code of a text in which every other stretch between quotes is quoted.

    None when that simple view may be wrong (comments, dollars, backslashes that count, one
    kind of quote within the other, quotes left open): the scanner has to look then.
    """
    code = text
    if "'" in text:
        stretches = text.split("'")
        if len(stretches) % 2 == 0:
            return None
        code = "'".join(stretches[::2])
        if "\\" in text and (not standard_conforming or "e'" in code or "E'" in code):
            return None
    if '"' in code:
        stretches = code.split('"')
        if text.count('"') != len(stretches) - 1 or len(stretches) % 2 == 0:
            return None
        if any("'" in quoted for quoted in stretches[1::2]):
            return None
        code = '"'.join(stretches[::2])
    if "$" in code or "--" in code or "/*" in code:
        return None
    return code


def _parentheses_pair_up(code: str) -> bool:
    if code.count("(") != code.count(")"):
        return False
    if "(" not in code:
        return True
    depth = 0
    for part in flatten_rows(code).split(")")[:-1]:
        depth += part.count("(") - 1
        if depth < 0:
            return False
    return True


def _may_commit(statement: str, code: str, standard_conforming: bool) -> bool:
    """Tell whether the body of a DO seems to end transactions; any doubt counts as yes."""
    words = head_words(code)
    body = statement
    if words == ["do", "'"] or ("language" in words and "plpgsql" in words):
        body = _plpgsql_body(statement, standard_conforming)
    body = body.lower()
    return any(has_word(body, word) for word in _COMMITTING_WORDS)


def _plpgsql_body(statement: str, standard_conforming: bool) -> str:
    """Return the code of a DO's body; the raw statement where the body is not plain to see."""
    scanner = _Scanner(statement, _QUOTES, standard_conforming)
    start = scanner.find(0)
    while statement[start] in "-/":
        start = scanner.find(scanner.skip(start))
    end = scanner.skip(start)
    if statement[start] != "$" or end < 0:
        return statement
    tag_length = statement.index("$", start + 1) + 1 - start
    body = statement[start + tag_length : end - tag_length]
    code, closed = _code(body, standard_conforming)
    return code if closed else statement


def _skip_blank(text: str, position: int) -> int:
    """Return the first place at or after position outside white space and comments.

    An unterminated comment is not skipped: the server shall see it.
    """
    size = len(text)
    while position < size:
        character = text[position]
        if character in WHITE_SPACE:
            position = _skip_white_space(text, position)
        elif character == "-" and text.startswith("--", position):
            position = _line_end(text, position)
        elif character == "/" and text.startswith("/*", position):
            end = _skip_block_comment(text, position)
            if end < 0:
                return position
            position = end
        else:
            return position
    return size


def _skip_white_space(text: str, position: int) -> int:
    """Return the first place at or after position without white space, found in growing steps."""
    step = 16
    while True:
        piece = text[position : position + step]
        rest = len(piece.lstrip(WHITE_SPACE))
        position += len(piece) - rest
        if rest or not piece:
            return position
        step *= 2


def _line_end(text: str, position: int) -> int:
    """Return the place of the next line break or the end, found in growing steps."""
    size = len(text)
    step = 128
    while position < size:
        line_feed = text.find("\n", position, position + step)
        limit = line_feed if line_feed >= 0 else position + step
        carriage_return = text.find("\r", position, limit)
        if carriage_return >= 0:
            return carriage_return
        if line_feed >= 0:
            return line_feed
        position += step
        step *= 2
    return size


def _skip_lines(text: str, position: int) -> int:
    """Return the place behind white space that holds a line break; -1 if it holds none."""
    start = position
    while True:
        position = _skip_white_space(text, position)
        if not text.startswith("--", position):
            break
        position = _line_end(text, position)
    between = text[start:position]
    return position if "\n" in between or "\r" in between else -1


def _skip_dollar_quote(text: str, mark: int) -> int:
    tag_end = text.index("$", mark + 1) + 1
    tag = text[mark:tag_end]
    end = text.find(tag, tag_end)
    return end + len(tag) if end >= 0 else -1


def _skip_block_comment(text: str, start: int) -> int:
    """Return the place behind the comment at start and those nested in it; -1 if it never ends."""
    depth = 1
    position = start + 2
    end = text.find("*/", position)
    while end >= 0:
        inner = text.find("/*", position, end + 1)
        if inner >= 0:
            depth += 1
            position = inner + 2
            if end < position:
                end = text.find("*/", position)
            continue
        depth -= 1
        position = end + 2
        if not depth:
            return position
        end = text.find("*/", position)
    return -1


def _skip_escaped(text: str, position: int) -> int:
    """Return the place behind a literal with backslash escapes, given the place of its content."""
    quote = text.find("'", position)
    while quote >= 0:
        backslash = text.find("\\", position, quote)
        if backslash >= 0:
            position = backslash + 2
            if position <= quote:
                continue
        elif text.startswith("'", quote + 1):
            position = quote + 2
        else:
            return quote + 1
        quote = text.find("'", position)
    return -1


def _is_tag(tag: str) -> bool:
    """Tell whether a text can stand between the dollars of a dollar quote."""
    if not tag.isascii():
        # Any character outside ASCII counts as a letter; encode() finds them without a loop.
        if "?" in tag:
            return False
        tag = tag.encode("ascii", "replace").replace(b"?", b"a").decode()
    return not tag or tag.isidentifier()


_WORD_BREAKS = {code: " " for code in range(128) if not continues_word(chr(code), 0)}
_WORD_BREAKS[ord(".")] = " . "
