"""The schema cron of cron.sql, and the one of the extension pg_cron: the same scenarios on both.

pg_cron lives in one database of a server that has it preloaded, so the two sides are two databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.parity.conftest import side
from tests.parity.player import Player, Side
from tests.parity.scenario import CRON_FOLDER, Scenario, read_all
from tools.product import build, run_sql_file
from tools.servers import Server

SCENARIOS = read_all(CRON_FOLDER)
USERS = ("app", "other")


@pytest.fixture(scope="module")
def cron_here(server: Server, template: str, role_names: dict[str, str]) -> Iterator[Side]:
    """Give a database with the product and cron.sql."""
    with (
        server.database(f"bg_parity_cron_{os.getpid()}", template) as name,
        tempfile.TemporaryDirectory(prefix="pg_background-") as folder,
    ):
        run_sql_file(server.dsn(name), build(Path(folder)).with_name("cron.sql"))
        yield side("here", "cron", server, name, role_names)


@pytest.fixture(scope="module")
def cron_there(server: Server, role_names: dict[str, str]) -> Iterator[Side]:
    """Give the database of pg_cron; skip where the server has none preloaded."""
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        row = connection.execute(
            "select current_setting('cron.database_name', true), default_version like '1.6%'"
            " from pg_available_extensions where name = 'pg_cron'"
        ).fetchone()
    if row is None or row[0] is None or not row[1]:
        pytest.skip("this server does not have pg_cron 1.6 preloaded")
    with psycopg.connect(server.dsn(row[0]), autocommit=True) as connection:
        connection.execute("create extension pg_cron")
        try:
            for word in USERS:
                connection.execute(f"grant usage on schema cron to {role_names[word]}")
            yield side("there", "cron", server, row[0], role_names)
        finally:
            connection.execute("drop extension pg_cron")
            connection.execute("drop schema if exists scratch cascade")


def _check(scenario: Scenario, on: Side) -> None:
    player = Player(on)
    try:
        for step, answer in player.play(scenario):
            expected = [player.filled(line) for line in step.expected(on.name)]
            assert answer.shown_as(expected) == expected, step.text
    finally:
        player.end()
        _forget_jobs(on)


def _forget_jobs(on: Side) -> None:
    """Take away the jobs of a scenario, and end their runs."""
    with on.connect(None) as connection:
        connection.execute("delete from cron.job")
        connection.execute(
            "select pg_terminate_backend(job_pid) from cron.job_run_details where status = 'running'"
        )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_answers_here(scenario: Scenario, cron_here: Side) -> None:
    _check(scenario, cron_here)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_answers_there(scenario: Scenario, cron_there: Side) -> None:
    _check(scenario, cron_there)
