"""Command tags: what PostgreSQL calls a statement, and how such a statement has to be run.

Everything here reads *code*: lower case, `'` for a literal, `"` for a quoted identifier, no
comments (see pg_background.statement, which makes it).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CLIENT_COPY",
    "INTO",
    "MAYBE",
    "NONE",
    "ROWS",
    "SET_TRANSACTION",
    "TOP",
    "TRANSACTION",
    "WHITE_SPACE",
    "continues_word",
    "describe",
    "flatten_rows",
    "full_tag",
    "has_word",
    "head_words",
    "of_outcome",
]

ROWS = "rows"  # returns rows, and a cursor can read them
MAYBE = "maybe"  # only the server knows whether it returns rows
NONE = "none"  # returns no rows
INTO = "into"  # SELECT ... INTO: a query that no cursor can read
TOP = "top"  # refuses to run inside a transaction block
TRANSACTION = "transaction"  # begins, ends or divides a transaction
CLIENT_COPY = "client copy"  # COPY that talks to the client
SET_TRANSACTION = "set transaction"  # counts only as the first statement of a transaction

WHITE_SPACE = " \t\n\r\f\v"

_COUNTED = ("SELECT", "UPDATE", "DELETE", "MERGE", "COPY", "FETCH", "MOVE")

_QUERY_VERBS = ("select", "insert", "update", "delete", "merge", "values", "table")

# Deeper nesting of WITH than anybody writes; without an end a text could keep us busy for hours.
_WITH_DEPTH = 8

# What creates a table from a query reports the query; so does nothing where there was nothing to do.
_FROM_QUERY = frozenset(("CREATE TABLE AS", "CREATE MATERIALIZED VIEW"))

_FIXED = {
    "abort": ("ROLLBACK", TRANSACTION),
    "analyse": ("ANALYZE", NONE),
    "analyze": ("ANALYZE", NONE),
    "begin": ("BEGIN", TRANSACTION),
    "call": ("CALL", TOP),
    "checkpoint": ("CHECKPOINT", NONE),
    "comment": ("COMMENT", NONE),
    "declare": ("DECLARE CURSOR", NONE),
    "do": ("DO", NONE),
    "end": ("COMMIT", TRANSACTION),
    "execute": ("EXECUTE", MAYBE),
    "explain": ("EXPLAIN", ROWS),
    # Without its cursor it is no query that can be read row by row, and has to fail in the server's own words.
    "fetch": ("FETCH", MAYBE),
    "import": ("IMPORT FOREIGN SCHEMA", NONE),
    "listen": ("LISTEN", NONE),
    "load": ("LOAD", NONE),
    "lock": ("LOCK TABLE", NONE),
    "move": ("MOVE", NONE),
    "notify": ("NOTIFY", NONE),
    "reassign": ("REASSIGN OWNED", NONE),
    "refresh": ("REFRESH MATERIALIZED VIEW", NONE),
    "release": ("RELEASE", TRANSACTION),
    "reset": ("RESET", NONE),
    "savepoint": ("SAVEPOINT", TRANSACTION),
    "security": ("SECURITY LABEL", NONE),
    "show": ("SHOW", ROWS),
    "start": ("START TRANSACTION", TRANSACTION),
    "table": ("SELECT", ROWS),
    "truncate": ("TRUNCATE TABLE", NONE),
    "unlisten": ("UNLISTEN", NONE),
    "vacuum": ("VACUUM", TOP),
    "values": ("SELECT", ROWS),
}


def full_tag(tag: str, row_count: int) -> str:
    """Return the command tag as psql shows it: `INSERT 0 2` for INSERT and two rows."""
    if tag == "INSERT":
        return f"INSERT 0 {row_count}"
    if tag in _FROM_QUERY and row_count:
        return f"SELECT {row_count}"
    return f"{tag} {row_count}" if tag in _COUNTED else tag


def of_outcome(tag: str, text: str) -> str:
    """Return the tag that an outcome shows: a statement that creates a table from a query is named for the table."""
    words = text[:100].lower().split()
    if tag == "SELECT" and words[0] == "create":
        return "CREATE MATERIALIZED VIEW" if "materialized" in words else "CREATE TABLE AS"
    return tag


def describe(code: str) -> tuple[str, str]:
    """Return the bare command tag and the kind of one statement, given its code.

    An unknown command has its first word for a tag and MAYBE for a kind; no command at all
    has '' and NONE.
    """
    body = code.lstrip(WHITE_SPACE + "(")
    words = head_words(body)
    verb = words[0] if words else ""
    if verb == "with":
        body = _main_query(body)
        words = head_words(body)
        if not words:
            return "SELECT", MAYBE
        verb = words[0]
    fixed = _FIXED.get(verb)
    if fixed:
        return fixed
    choose = _CHOICES.get(verb)
    if choose:
        return choose(body, words)
    return verb.upper(), MAYBE if verb else NONE


def head_words(code: str) -> list[str]:
    """Return the first words of a code, with parentheses and quote marks among them.

    They are enough to know the command. Other punctuation is left out.
    """
    words = []
    for chunk in code.split(None, 8)[:8]:
        if chunk.isidentifier():
            words.append(chunk)
        else:
            words += _take_apart(chunk[:64])
    return words


def has_word(code: str, word: str) -> bool:
    """Tell whether a word stands anywhere in a code, by itself and not as a part of another."""
    return _find_word(code, word, 0) >= 0


def continues_word(text: str, place: int) -> bool:
    """Tell whether a character that can continue an identifier stands at place."""
    if not 0 <= place < len(text):
        return False
    character = text[place]
    return character.isalnum() or character in "_$" or character > "\x7f"


def flatten_rows(code: str) -> str:
    """Return the code with each list of rows as one row: whatever is nested stays so.

    Parentheses come by the million in VALUES lists only; this spares a loop over them.
    """
    return code.replace("),(", ",").replace("), (", ",").replace("),\n(", ",")


def _take_apart(chunk: str) -> list[str]:
    words = []
    word = ""
    for character in chunk:
        if continues_word(character, 0):
            word += character
            continue
        if word:
            words.append(word)
            word = ""
        if character in "('\"":
            words.append(character)
    if word:
        words.append(word)
    return words


def _find_word(code: str, word: str, start: int) -> int:
    place = code.find(word, start)
    while place >= 0:
        end = place + len(word)
        if not continues_word(code, place - 1) and not continues_word(code, end):
            return place
        place = code.find(word, end)
    return -1


def _find_top_word(code: str, word: str) -> int:
    """Return the place of a keyword outside parentheses that is no label or field; or -1."""
    place = _find_word(code, word, 0)
    depth = start = 0
    while place >= 0:
        depth += code.count("(", start, place) - code.count(")", start, place)
        if depth == 0 and not _is_label(code, place):
            return place
        start = place
        place = _find_word(code, word, place + len(word))
    return -1


def _is_label(code: str, place: int) -> bool:
    """Tell whether the word at place follows AS or a dot: there even a keyword is a name."""
    before = code[max(0, place - 40) : place].rstrip()
    if before.endswith("."):
        return True
    return before.endswith("as") and not continues_word(before, len(before) - 3)


def _main_query(code: str) -> str:
    """Return the code behind the common table expressions of a WITH, '' if it is not found."""
    for _ in range(_WITH_DEPTH):
        code = _behind_expressions(flatten_rows(code)).lstrip(WHITE_SPACE + "(")
        if not code.startswith("with") or continues_word(code, len("with")):
            break
    else:
        return ""
    return code


def _behind_expressions(code: str) -> str:
    opening = code.find("(")
    while opening >= 0:
        closing = _closing(code, opening)
        if closing < 0:
            break
        opening = code.find("(", closing)
        between = code[closing + 1 : opening if opening >= 0 else len(code)].strip(WHITE_SPACE)
        if not between:
            return code[opening:] if opening >= 0 else ""
        if not between.startswith(",") and head_words(between)[:1] != ["as"]:
            place = _first_verb(code, closing + 1, between)
            if place >= 0:
                return code[place:]
    return ""


def _first_verb(code: str, start: int, between: str) -> int:
    """Return where the main query begins, if within that stretch of code; otherwise -1."""
    places = [_find_word(between, verb, 0) for verb in _QUERY_VERBS]
    first = min((place for place in places if place >= 0), default=-1)
    return code.index(between, start) + first if first >= 0 else -1


def _closing(code: str, opening: int) -> int:
    """Return the place of the parenthesis that closes the one at opening; -1 without one."""
    depth = 1
    position = opening + 1
    while True:
        closing = code.find(")", position)
        if closing < 0:
            return -1
        depth += code.count("(", position, closing) - 1
        if depth == 0:
            return closing
        position = closing + 1


def _select(body: str, _words: list[str]) -> tuple[str, str]:
    return "SELECT", INTO if _find_top_word(body, "into") >= 0 else ROWS


def _write(body: str, words: list[str]) -> tuple[str, str]:
    return words[0].upper(), ROWS if _find_top_word(body, "returning") >= 0 else NONE


def _create(body: str, words: list[str]) -> tuple[str, str]:
    number = 1
    while number < len(words) and words[number] in _CREATE_OPTIONS:
        number += 1
    kind_words = words[number:]
    object_kind = _object_kind(kind_words)
    tag = "CREATE " + object_kind
    if object_kind in ("DATABASE", "TABLESPACE", "SUBSCRIPTION"):
        return tag, TOP
    if object_kind == "INDEX":
        return tag, TOP if kind_words[1:2] == ["concurrently"] else NONE
    if object_kind == "LANGUAGE" and _find_top_word(body, "handler") < 0:
        # A language without a handler is short for the extension of that name.
        tag = "CREATE EXTENSION"
    elif object_kind in ("TABLE", "MATERIALIZED VIEW") and _find_top_word(body, "as") >= 0:
        tag = _tag_of_stored_query(tag, body)
    return tag, NONE


def _tag_of_stored_query(tag: str, body: str) -> str:
    if body.rstrip(WHITE_SPACE + ")").rsplit(None, 2)[-2:] != ["no", "data"]:
        return "SELECT"
    return "CREATE TABLE AS" if tag == "CREATE TABLE" else tag


def _alter(body: str, words: list[str]) -> tuple[str, str]:
    object_kind = _object_kind(words[1:])
    if object_kind == "SYSTEM":
        top = True
    elif object_kind == "DATABASE":
        top = words[3:5] == ["set", "tablespace"]
    elif object_kind == "TABLE":
        top = _find_top_word(body, "detach") >= 0 and _find_top_word(body, "concurrently") >= 0
    elif object_kind == "SUBSCRIPTION":
        top = any(has_word(body, word) for word in _REMOTE_WORDS)
    else:
        top = False
    return "ALTER " + object_kind, TOP if top else NONE


def _drop(_body: str, words: list[str]) -> tuple[str, str]:
    object_kind = _object_kind(words[1:])
    top = object_kind in ("DATABASE", "TABLESPACE", "SUBSCRIPTION")
    if object_kind == "INDEX":
        top = words[2:3] == ["concurrently"]
    return "DROP " + object_kind, TOP if top else NONE


def _object_kind(words: list[str]) -> str:
    """Return the kind of object as it stands in a tag, given the words that begin with it."""
    first, second, third = [*words, "", "", ""][:3]
    if first == "operator":
        kind = f"operator {second}" if second in ("class", "family") else first
    elif first == "foreign":
        kind = "foreign table" if second == "table" else "foreign data wrapper"
    elif first == "text":
        kind = f"text search {third}"
    elif first == "user":
        # A role may be called mapping; only USER MAPPING goes on like this.
        kind = "user mapping" if second == "mapping" and third in ("for", "if") else "role"
    elif first == "procedural":
        kind = "language"
    else:
        kind = _SHORT_KINDS.get(first, first)
    return kind.upper()


def _grant(body: str, words: list[str]) -> tuple[str, str]:
    verb = words[0].upper()
    return verb if _find_top_word(body, "on") >= 0 else verb + " ROLE", NONE


def _copy(body: str, _words: list[str]) -> tuple[str, str]:
    places = [_find_top_word(body, "from"), _find_top_word(body, "to")]
    direction = min((place for place in places if place >= 0), default=len(body))
    other_side = head_words(body[direction:])[1:2]
    return "COPY", CLIENT_COPY if other_side in (["stdin"], ["stdout"]) else NONE


def _set(_body: str, words: list[str]) -> tuple[str, str]:
    if words[1:2] == ["constraints"]:
        return "SET CONSTRAINTS", NONE
    target = words[2:3] if words[1:2] in (["local"], ["session"]) else words[1:2]
    return "SET", SET_TRANSACTION if target == ["transaction"] else NONE


def _prepare(_body: str, words: list[str]) -> tuple[str, str]:
    if words[1:3] == ["transaction", "'"]:
        return "PREPARE TRANSACTION", TRANSACTION
    return "PREPARE", NONE


def _finish(_body: str, words: list[str]) -> tuple[str, str]:
    verb = words[0].upper()
    if words[1:2] == ["prepared"]:
        return verb + " PREPARED", TOP
    return verb, TRANSACTION


def _close(_body: str, words: list[str]) -> tuple[str, str]:
    return "CLOSE CURSOR ALL" if words[1:2] == ["all"] else "CLOSE CURSOR", NONE


def _deallocate(_body: str, words: list[str]) -> tuple[str, str]:
    return "DEALLOCATE ALL" if words[-1] == "all" else "DEALLOCATE", NONE


def _discard(_body: str, words: list[str]) -> tuple[str, str]:
    what = words[1].upper() if len(words) > 1 else ""
    if what == "TEMPORARY":
        what = "TEMP"
    return f"DISCARD {what}", TOP if what == "ALL" else NONE


def _cluster(body: str, words: list[str]) -> tuple[str, str]:
    if words[1:2] == ["("]:
        table = head_words(body.partition(")")[2])
    else:
        table = [word for word in words[1:] if word != "verbose"]
    return "CLUSTER", NONE if table else TOP


def _reindex(body: str, words: list[str]) -> tuple[str, str]:
    behind = body.partition(")")[2] if words[1:2] == ["("] else body[len("reindex") :]
    options = body[: len(body) - len(behind)]
    target = head_words(behind)
    top = (
        target[:1] in (["database"], ["schema"], ["system"])
        or target[1:2] == ["concurrently"]
        or _asks_for_concurrency(options)
    )
    return "REINDEX", TOP if top else NONE


def _asks_for_concurrency(options: str) -> bool:
    words = _take_apart(options)
    if "concurrently" not in words:
        return False
    value = words[words.index("concurrently") + 1 :][:1]
    return value not in (["false"], ["off"], ["0"])


_CREATE_OPTIONS = frozenset(
    (
        *("or", "replace", "local", "global", "temp", "temporary", "unlogged", "recursive"),
        *("unique", "trusted", "procedural", "default", "constraint"),
    )
)

_SHORT_KINDS = {
    "access": "access method",
    "default": "default privileges",
    "event": "event trigger",
    "group": "role",
    "large": "large object",
    "materialized": "materialized view",
}

# ALTER SUBSCRIPTION that speaks with the publisher cannot be undone by a rollback.
_REMOTE_WORDS = ("refresh", "publication", "failover", "two_phase")

_CHOICES: dict[str, Callable[[str, list[str]], tuple[str, str]]] = {
    "alter": _alter,
    "close": _close,
    "cluster": _cluster,
    "commit": _finish,
    "copy": _copy,
    "create": _create,
    "deallocate": _deallocate,
    "delete": _write,
    "discard": _discard,
    "drop": _drop,
    "grant": _grant,
    "insert": _write,
    "merge": _write,
    "prepare": _prepare,
    "reindex": _reindex,
    "revoke": _grant,
    "rollback": _finish,
    "select": _select,
    "set": _set,
    "update": _write,
}
