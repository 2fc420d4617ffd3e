"""The scenes of the demonstration, on a tenth of its data."""

import os
from pathlib import Path

import pytest

from demo.play import FOLDER, scenes
from demo.show import play, shown
from tests.fix_db import Database, Roles
from tools.product import run_sql_file


@pytest.fixture
def owner(db: Database, roles: Roles) -> str:
    """Give the DSN of a plain role that owns the database and pgbench's tables in it."""
    name = roles.create()
    with db.connect() as dba:
        dba.execute(f"alter database {db.name} owner to {name}")
        dba.execute(f"alter role {name} set search_path = public, background")
    dsn = db.server.dsn(db.name, name, password=name)
    run_sql_file(f"{dsn} options='-c demo.scale=1'", FOLDER / "pgbench_tables.sql")
    return dsn


def test_every_scene_plays_to_its_end_and_shows_what_it_promises(
    owner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for scene in scenes():
        assert play(owner, scene), capsys.readouterr().out
        told[scene.stem] = capsys.readouterr().out

    assert "100000 | 0.0000" in told["1_rows"]
    assert "new index      | stopped | CREATE INDEX" in told["2_maintenance"]
    assert 'finished vacuuming "' in told["2_maintenance"]
    assert "stopped |          100 | batch 10 of 10" in told["3_backfill"]
    assert "somebody tried to empty all accounts\n" in told["4_audit"].rpartition("rollback;")[2]
    assert "20010\n" in told["4_audit"]
    assert "canceled | 57014" in told["5_runaway"]
    assert "stopped |         1 |" in told["6_detach"]
    assert "1 | 20010\n" in told["6_detach"]
    assert "ERROR:  pg_background: deadlock detected" in told["7_deadlock"]
    assert "stopped | UPDATE      |         1" in told["7_deadlock"]
    beats, _, trouble = told["8_schedule"].partition("rename to hart;")
    assert beats.count("| stopped | INSERT") == 3
    assert "2030-04-01 00:00:00+00" in beats, "02:00 in summer, behind the weekend"
    assert "heartbeat | t\n" in trouble
    assert 'error | 42P01    | relation "heart" does not exist' in trouble
    assert "heartbeat | t       |                 0" in trouble


def test_a_scene_that_fails_is_reported(db: Database, tmp_path: Path) -> None:
    scene = tmp_path / "scene.sql"
    scene.write_text("select 1/0;\n")
    assert not play(db.dsn, scene)


def test_long_answers_are_cut_and_say_so() -> None:
    output = ["select 1;", *(f"line {number}" for number in range(20)), "select 2;", "2"]
    told = list(shown("select 1;\n\nselect 2;\n", output))
    assert told[:2] == ["select 1;", "    line 0"]
    assert told[-3:] == ["    ... and 13 lines more", "select 2;", "    2"]


def test_the_demo_is_one_command() -> None:
    assert os.access(FOLDER / "run", os.X_OK)
