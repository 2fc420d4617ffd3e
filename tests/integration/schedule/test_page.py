"""docs/schedules.md: its SQL runs."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.verbs import Session

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schedules.md"
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_statement_of_the_page_runs_in_its_order(launcher: Session) -> None:
    launcher.execute("create procedure public.report() language sql as 'select 1'")
    launcher.execute("set search_path = background")
    statements = [part for block in BLOCKS for part in block.split(";\n") if part.strip()]
    for statement in statements:
        launcher.execute(statement)
    assert len(statements) >= 9
    names = launcher.rows("select name, schedule from pg_background_schedules order by name")
    assert names == [("refresh", "*/5 * * * *"), ("rest", "0 22 * * sat")]
