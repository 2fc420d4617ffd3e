"""docs/schedules.md: its SQL runs."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.schedule.cron_names import install_cron
from tests.integration.schedule.test_cron_import import TABLE
from tests.integration.session import Session

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schedules.md"
DBA_BLOCKS = re.findall(r"^```sql dba\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
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


def test_what_the_dba_does_on_the_page_runs(admin: Session, tmp_path: Path) -> None:
    bringing, keeping = DBA_BLOCKS
    admin.execute(TABLE)
    admin.execute("insert into cron.job (jobname, schedule, command) values ('a', '@daily', '')")
    admin.execute(bringing)
    assert admin.rows("select name from background.pg_background_schedules") == [("a",)]
    assert admin.value("select active from cron.job") is False
    admin.execute("drop schema cron cascade")
    install_cron(admin, tmp_path)
    for statement in keeping.split(";\n"):
        admin.execute(statement)
    admin.execute("select pgbackground.remove_cron()")
