"""Every example of the README is run as it stands, and answers what it says it answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.fix_db import Database, Roles, unique_name
from tools.local_server import LocalServer
from tools.product import ROOT, build, find_psql, install
from tools.servers import Server

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- as (\w+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
ANSWER = re.compile(r"--> (.*)$")
MARK = "answered"


class Example(NamedTuple):
    """A fenced block: who runs it (None: a plain role), its language, its text."""

    speaker: str | None
    language: str
    text: str


def examples(language: str) -> list[Example]:
    """Return the README's blocks of a language, in order."""
    found = [Example(speaker or None, *rest) for speaker, *rest in BLOCK.findall(README)]
    return [example for example in found if example.language == language]


def told(dsn: str, script: str) -> str:
    """Run a script through psql, and return what it printed, bare."""
    command = [find_psql(), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    run = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{script}\n{run.stderr}"
    return run.stdout


def check(dsn: str, script: str) -> int:
    """Run a script, compare its answers with the promised ones, and return how many these were."""
    promised = [found[1] for line in script.splitlines() if (found := ANSWER.search(line))]
    marked = [
        f"{ANSWER.sub('', line)}\n\\echo {MARK}" if ANSWER.search(line) else line
        for line in script.splitlines()
    ]
    parts = told(dsn, "\n".join(marked)).split(f"{MARK}\n")[:-1]
    assert [part.splitlines()[-1] for part in parts] == promised
    return len(promised)


@pytest.fixture
def app(db: Database, roles: Roles) -> str:
    """Give the DSN of a role set up as the README's installation sets up `app`."""
    name = roles.create()
    with db.connect() as dba:
        dba.execute(f"alter role {name} set search_path = public, background")
        dba.execute(f"grant create on schema public to {name}")
    return db.server.dsn(db.name, name, password=name)


def test_the_sql_examples_answer_what_they_say(db: Database, app: str) -> None:
    dsns = {None: app, "dba": db.dsn}
    answers = [
        check(dsns[example.speaker], example.text)
        for example in examples("sql")
        if example.speaker != "extension"
    ]
    assert sum(answers) == README.count("--> ") > 0


def test_a_promise_that_is_not_kept_is_noticed(app: str) -> None:
    with pytest.raises(AssertionError):
        check(app, "select 1;  --> 2")


def test_psql_installs_it_as_the_readme_says(server: Server, roles: Roles, tmp_path: Path) -> None:
    (example,) = examples("sh")
    _, install_it, grant_it = example.text.splitlines()
    assert install_it.endswith("-f dist/install.sql")
    build(tmp_path / "dist")
    app = roles.create(member=False)
    with server.database(unique_name("readme")) as name:
        dsn = server.dsn(name)
        for command in (install_it, re.sub(r"\bapp\b", app, grant_it)):
            shell = f'psql() {{ "{find_psql()}" -X -q -d "$DSN" "$@"; }}\n{command}'
            subprocess.run(
                ["bash", "-c", shell], cwd=tmp_path, env={**os.environ, "DSN": dsn}, check=True
            )
        session = server.dsn(name, app, password=app)
        assert told(session, "select state from pg_background_run('select 1')") == "stopped\n"


@pytest.fixture
def extension_files(
    server: Server,
    tmp_path: Path,
    extension_folder_alone: None,  # noqa: ARG001
) -> Iterator[None]:
    """Have the extension's files in the server's folder, where that is ours to do."""
    with psycopg.connect(server.admin_dsn) as dba:
        row = dba.execute("select setting from pg_config where name = 'SHAREDIR'").fetchone()
    folder = Path(row[0] if row else "") / "extension"
    if server.local is None or not os.access(folder, os.W_OK):
        pytest.skip("the server's folder of extensions is not ours to write to")
    build(tmp_path)
    files = [folder / file.name for file in tmp_path.glob("pg_background_plpy*")]
    if any(file.exists() for file in files):
        pytest.skip("the extension's files are in the server's folder already")
    for file in files:
        shutil.copy(tmp_path / file.name, file)
    yield
    for file in files:
        file.unlink()


@pytest.mark.usefixtures("extension_files", "template")
def test_create_extension_installs_it_as_the_readme_says(server: Server) -> None:
    (example,) = [each for each in examples("sql") if each.speaker == "extension"]
    with server.database(unique_name("readme")) as name:
        told(server.dsn(name), example.text)
        run = "select state from background.pg_background_run('select 1')"
        assert told(server.dsn(name), run) == "stopped\n"


def test_the_lines_for_peer_let_workers_log_in_as_their_users() -> None:
    (text,) = [each.text for each in examples("") if "pg_hba.conf" in each.text]
    access, mapping = text.split("# pg_ident.conf", 1)
    with LocalServer() as local:
        data = local.data
        # the superuser's own access, for this test, and nothing else for anybody
        (data / "pg_hba.conf").write_text(f"local all postgres trust\n{access}")
        (data / "pg_ident.conf").write_text(f"#{mapping}")
        local.restart()
        if local.data.owner() != "postgres":
            pytest.skip("the server does not run as postgres, whom the lines name")
        install(local.dsn())
        # who begins as the superuser, whom we can log in as, is app for the product
        setup = (
            "create role app login; grant pgbackground_role to app; set session authorization app;"
        )
        run = "select state from background.pg_background_run('select 1')"
        assert told(local.dsn(), setup + run) == "stopped\n"

        (data / "pg_ident.conf").write_text("")
        local.restart()
        with psycopg.connect(local.dsn(), autocommit=True) as session:
            session.execute("set session authorization app")
            with pytest.raises(psycopg.Error) as refused:
                session.execute("select background.pg_background_launch('select 1')")
            assert refused.value.sqlstate == "08001"
