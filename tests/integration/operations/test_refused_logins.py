"""The doctor's cure fits the reason why a worker's login is refused, and doing what it says lets the worker in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.session import Session
from tests.integration.verbs.test_login import (
    APP,
    PASSWORD,
    Cluster,
    app,  # noqa: F401 (a fixture)
    block,
    cluster,  # noqa: F401 (a fixture)
    doctor,
    works,
)
from tools.product import ROOT

Apps = Callable[[], Session]
SCRAM = f"local all {APP} scram-sha-256\n"


@pytest.fixture
def dba(cluster: Cluster, app: Apps) -> Iterator[Session]:  # noqa: ARG001, F811
    """Give the superuser's session, on a server where nothing is set for workers' logins."""
    session = cluster.connect()
    session.execute("set client_min_messages = error")
    yield session
    session.close()


def cure(session: Session) -> str:
    """Return what the doctor says of the role's login, which he must find refused."""
    ok, _, said = doctor(session, f"login of {APP}")
    assert not ok
    return said or ""


def healed(session: Session) -> bool:
    """Is the login of the role all right by now?"""
    return doctor(session, f"login of {APP}")[0]


def commands(said: str) -> str:
    """Return the SQL in a cure, with the password in its place."""
    lines = [line for line in said.splitlines() if re.match("create|alter", line)]
    return "\n".join(lines).replace("'...'", f"'{PASSWORD}'")


def conninfo(session: Session, value: str) -> None:
    """Set what is appended to the workers' connection strings."""
    session.execute("delete from background.pg_background_config where name = 'conninfo'")
    session.execute(
        "insert into background.pg_background_config (name, value) values ('conninfo', %s)", [value]
    )


def test_a_password_is_given_by_the_mapping_that_is_missing(
    cluster: Cluster, app: Apps, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure(SCRAM)
    said = cure(dba)
    assert "no password to give" in said
    assert "pg_hba.conf" not in said
    dba.execute(commands(said))
    assert healed(dba)
    assert works(app())


def test_a_mapping_of_others_does_not_help_and_is_not_taken_for_ones_own(
    cluster: Cluster, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure(SCRAM)
    dba.execute("create server pg_background_loopback foreign data wrapper dblink_fdw")
    dba.execute(
        "create user mapping for postgres server pg_background_loopback options (password 'x')"
    )
    said = cure(dba)
    assert "create server" not in said
    assert f"create user mapping for {APP}" in said
    dba.execute(commands(said))
    assert healed(dba)


def test_a_wrong_password_is_put_right_where_it_stands(cluster: Cluster, dba: Session) -> None:  # noqa: F811
    cluster.configure(SCRAM)
    dba.execute(block("scram sql").replace(PASSWORD, "old"))
    said = cure(dba)
    assert "The password is not the role's: correct the user mapping" in said
    assert "options (set password '...')" in said
    dba.execute(re.search(r"\((alter.*\))\)", said)[1].replace("'...'", f"'{PASSWORD}'"))  # type: ignore[index]
    assert healed(dba)
    dba.execute("drop server pg_background_loopback cascade")
    conninfo(dba, "password=old")
    assert "correct the row conninfo of background.pg_background_config" in cure(dba)


def test_a_password_file_is_looked_into(cluster: Cluster, dba: Session) -> None:  # noqa: F811
    cluster.configure(SCRAM)
    path = str(Path(cluster.hba).with_name("workers.pgpass"))
    conninfo(dba, f"passfile={path}")
    assert f"There is no password file {path}" in cure(dba)
    mode = "do language plpython3u $$ import os; os.chmod({!r}, {}) $$"
    cluster.write(path, f"*:*:*:{APP}:{PASSWORD}\n")
    dba.execute(mode.format(path, 0o644))
    assert f"chmod 0600 {path}" in cure(dba)
    dba.execute(mode.format(path, 0o600))
    assert healed(dba)
    cluster.write(path, f"*:*:*:{APP}:wrong\n")
    assert f"the line for {APP} in {path}" in cure(dba)
    cluster.write(path, "*:*:*:somebody:else\n")
    assert f"has no line for this login. Add one:\n*:*:*:{APP}:..." in cure(dba)


def test_a_typo_in_conninfo_is_called_one(cluster: Cluster, dba: Session) -> None:  # noqa: F811
    cluster.configure(f"local all {APP} trust\n")
    for typo in ("pasfile=/p", "passfile", "port=many", "connect_timeout='10", "sslmode=often"):
        conninfo(dba, typo)
        assert "correct the row conninfo of background.pg_background_config" in cure(dba), typo
    dba.execute("delete from background.pg_background_config")
    assert healed(dba)


def test_a_server_that_is_not_there_is_told_with_what_leads_to_it(
    cluster: Cluster, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure(f"local all {APP} trust\n")
    for words in ("port=1", "host=/nowhere", "host=nowhere.invalid", "hostaddr=127.0.0.1 port=1"):
        conninfo(dba, words)
        said = cure(dba)
        assert "by the row conninfo of background.pg_background_config: correct it" in said, words
        assert f"This server listens on port {dba.value('show port')}" in said
    dba.execute("delete from background.pg_background_config")
    dba.execute(
        "create server pg_background_loopback foreign data wrapper dblink_fdw options (port '1')"
    )
    assert "by the options of server pg_background_loopback" in cure(dba)


def test_the_line_that_rejects_is_named(cluster: Cluster, dba: Session) -> None:  # noqa: F811
    cluster.configure(
        f"# workers\nhost all {APP} 127.0.0.1/32 trust\nlocal all +pgbackground_role reject\n"
    )
    assert "pg_hba.conf line 3 rejects this login" in cure(dba)
    conninfo(dba, "host=127.0.0.1")
    assert healed(dba)
    cluster.configure(f"local all {APP} trust\nhost all {APP} 127.0.0.0/8 reject\n")
    said = cure(dba)
    assert "pg_hba.conf line 2 rejects this login" in said
    assert "host  all  +pgbackground_role  127.0.0.1/32  scram-sha-256" in said


def test_no_line_at_all_is_told_apart_from_one_that_rejects(
    cluster: Cluster, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure("local other all trust\n")
    assert cure(dba).startswith("No line of pg_hba.conf fits.")


def test_a_line_that_the_server_has_not_read_yet_is_noticed(
    cluster: Cluster, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure(f"local all {APP} reject\n")
    assert "rejects" in cure(dba)
    text = f"local all {APP} trust\nlocal all postgres trust\nhost all all all trust\n"
    cluster.write(cluster.hba, text)
    said = cure(dba)
    assert "pg_hba.conf line 1 would let it in" in said
    assert said.endswith("select pg_reload_conf()")
    cluster.configure(f"local all {APP} trust\n")
    assert healed(dba)


def test_a_map_that_lacks_the_login_gets_its_line_and_keeps_its_name(
    cluster: Cluster, app: Apps, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    hba = f"local all {APP} peer map=ours\n"
    cluster.configure(hba, "ours  nobody  somebody\n")
    said = cure(dba)
    assert "asks the map ours" in said
    assert "In pg_hba.conf" not in said
    lines = said.splitlines()
    ident = "\n".join(line for line in lines if line.startswith("ours "))
    cluster.configure(hba, f"{ident}\n")
    assert healed(dba)
    assert works(app())


def test_the_readme_and_the_doctor_use_one_map(cluster: Cluster, dba: Session) -> None:  # noqa: F811
    cluster.configure("local other all trust\n")
    said = set(re.findall(r"map=(\w+)", cure(dba)))
    for page in ("README.md", "docs/security.md"):
        text = (ROOT / page).read_text()
        assert set(re.findall(r"map=(\w+)", text)) == said, page


def test_a_member_learns_no_password_from_the_doctor(
    cluster: Cluster, app: Apps, dba: Session  # noqa: F811
) -> None:  # fmt: skip
    cluster.configure(SCRAM)
    dba.execute(block("scram sql").replace(PASSWORD, "hunter2"))
    conninfo(dba, "application_name=hunter3")
    assert not re.search("hunter", cure(app()))
