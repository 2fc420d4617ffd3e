"""docs/reference.md is what the database says of itself."""

import psycopg
import pytest

from tests.fix_db import Database
from tools.reference import FILE, reference


@pytest.fixture
def text(db: Database) -> str:
    """Give the reference of the product as it is installed."""
    with psycopg.connect(db.dsn, autocommit=True) as connection:
        return reference(connection)


def test_the_reference_is_up_to_date(text: str) -> None:
    assert FILE.read_text() == text, "run `make reference`"


def test_every_public_object_has_its_heading_and_its_comment(text: str, db: Database) -> None:
    names = [
        name
        for (name,) in db.connect().execute(
            "select distinct proname from pg_proc where pronamespace = 'background'::regnamespace"
            " and not starts_with(proname, '_') union"
            " select relname from pg_class where relnamespace = 'background'::regnamespace"
            " and relkind in ('v', 'c', 'r') and starts_with(relname, 'pg_background')"
        )
    ]
    sections = {part.partition("\n")[0]: part for part in text.split("\n### ")}
    for name in names:
        old = f"| `{name}` | Deprecated: " in text
        assert old or len(sections[name].strip().splitlines()) > 3, name
