"""What tests of the schema cron have in common."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.integration.session import Session
from tools.product import build

NEVER = "0 0 29 2 *"


def file(folder: Path, name: str = "cron.sql") -> str:
    """Build the product, and return the text of one of its files."""
    return build(folder).with_name(name).read_text()


def install_cron(admin: Session, folder: Path) -> None:
    """Run cron.sql, as the superuser."""
    admin.connection.execute(sql.SQL(file(folder)))


def said(session: Session, statement: str) -> str:
    """Run what has to fail, and return SQLSTATE and message."""
    with pytest.raises(psycopg.DatabaseError) as caught:
        session.execute(statement)
    return f"{caught.value.sqlstate} {caught.value.diag.message_primary}"
