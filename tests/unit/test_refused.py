"""What cures a refused login, by the words of libpq and of the server."""

from __future__ import annotations

from typing import Any

import psycopg.conninfo
import pytest

from pg_background import refused

NO_LINE = (
    'FATAL:  no pg_hba.conf entry for host "[local]", user "app", database "shop", no encryption'
)
REJECT = 'FATAL:  pg_hba.conf rejects connection for host "[local]", user "app", database "shop", no encryption'
REJECT_TCP = 'FATAL:  pg_hba.conf rejects connection for host "127.0.0.1", user "app", database "shop", no encryption'
PEER = 'FATAL:  Peer authentication failed for user "app"'
WRONG = 'FATAL:  password authentication failed for user "app"'
WRONG_TCP = f'connection to server at "localhost" (127.0.0.1), port 5432 failed: {WRONG}'
NONE = 'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: fe_sendauth: no password supplied'
NO_SOCKET = (
    'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
    "\tIs the server running locally and accepting connections on that socket?"
)
REFUSED = (
    'connection to server at "localhost" (127.0.0.1), port 9 failed: Connection refused\n'
    "\tIs the server running on that host and accepting TCP/IP connections?"
)


def line(number: int, kind: str, method: str, **more: Any) -> dict[str, Any]:
    """A line of pg_hba.conf that fits login and database."""
    place = {"place": f"pg_hba.conf line {number}", "type": kind, "method": method}
    return {"address": None, "netmask": None, "map": None, **place, **more}


def facts(**known: Any) -> refused.Facts:
    """What is known of app's login where nothing has been set."""
    return refused.Facts(
        **{
            "login": "app",
            "database": "shop",
            "sockets": "/run/postgresql",
            "port": "5432",
            "conninfo": None,
            "server": None,
            "mapping": None,
            "stranger": None,
            "rules": [],
            "passfile": ("/var/lib/postgresql/.pgpass", "missing"),
            "system_user": "postgres",
            "version": 17,
            "schema": "background",
            **known,
        }
    )


def advice(reason: str, **known: Any) -> str:
    return refused.cure(reason, facts(**known))


def test_no_line_is_cured_by_one_with_a_map() -> None:
    told = advice(NO_LINE)
    assert told.startswith("No line of pg_hba.conf fits.")
    assert "local  all  +pgbackground_role  peer  map=pg_background" in told
    assert "pg_background  postgres  +pgbackground_role" in told
    assert "pg_background  postgres  app" in advice(NO_LINE, version=15)


def test_a_line_that_rejects_is_named() -> None:
    rules = [
        line(3, "host", "trust", address="all"),
        line(7, "local", "reject"),
        line(9, "local", "trust"),
    ]
    told = advice(REJECT, rules=rules)
    assert told.startswith("pg_hba.conf line 7 rejects this login.")
    assert "before the other lines" in told


@pytest.mark.parametrize(
    ("address", "netmask", "covers"),
    [
        ("127.0.0.1", "255.255.255.255", True),
        ("127.0.0.0", "255.0.0.0", True),
        ("10.0.0.0", "255.0.0.0", False),
        ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("all", None, True),
        ("samenet", None, True),
        ("db.example", None, False),
    ],
)
def test_over_tcp_the_line_that_covers_the_address_is_named(
    address: str, netmask: str | None, covers: bool
) -> None:
    rules = [
        line(1, "local", "trust"),
        line(2, "host", "reject", address=address, netmask=netmask),
        line(3, "hostssl", "reject", address="all"),
    ]
    told = advice(REJECT_TCP, rules=rules, sockets="")
    assert told.startswith(f"pg_hba.conf line {2 if covers else 3} rejects")
    assert "host  all  +pgbackground_role  127.0.0.1/32  scram-sha-256" in told


@pytest.mark.parametrize(
    ("reason", "method"), [(NO_LINE, "trust"), (REJECT, "peer"), (PEER, "trust")]
)
def test_a_line_that_the_server_has_not_read_is_cured_by_reading_it(
    reason: str, method: str
) -> None:
    told = advice(reason, rules=[line(4, "local", method)])
    assert (
        told
        == "pg_hba.conf line 4 would let it in: the server has not read it yet. select pg_reload_conf()"
    )


def test_peer_without_a_map_and_with_one_that_does_not_fit() -> None:
    told = advice(PEER, rules=[line(5, "local", "peer")])
    assert told.startswith("pg_hba.conf line 5 has no map: only postgres itself may log in by it.")
    assert "map=pg_background" in told
    told = advice(PEER, rules=[line(5, "local", "peer", map="ours")])
    assert "asks the map ours, which does not let postgres be app" in told
    assert "ours  postgres  +pgbackground_role" in told
    assert "pg_hba.conf, before" not in told


def test_a_wrong_password_is_looked_for_where_it_comes_from() -> None:
    scram = [line(2, "local", "scram-sha-256")]
    told = advice(WRONG, rules=scram, server={}, mapping={"password": "x"})
    assert (
        "alter user mapping for app server pg_background_loopback options (set password '...')"
        in told
    )
    told = advice(WRONG, rules=scram, conninfo="password='a b' port=5432")
    assert "the row conninfo of background.pg_background_config" in told
    told = advice(WRONG, rules=scram, passfile=("/etc/pass", "speaks"))
    assert "the line for app in /etc/pass" in told
    for each in (told, advice(WRONG, rules=scram, server={}, mapping={"password": "hunter2"})):
        assert "hunter2" not in each
        assert "pg_ident.conf" not in each


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, "create server pg_background_loopback foreign data wrapper dblink_fdw;\ncreate user mapping for app"),
        ({"server": {}}, "The worker has no password to give.\ncreate user mapping for app server"),
        ({"server": {}, "mapping": {"user": "x"}}, "options (add password '...')"),
        ({"stranger": "eve"}, "alter server pg_background_loopback owner to postgres"),
        ({"passfile": ("/p", "open")}, "chmod 0600 /p"),
        ({"passfile": ("/p", "unreadable")}, "cannot be read by postgres"),
        ({"passfile": ("/p", "silent")}, "*:*:*:app:..."),
        ({"passfile": ("/p", "missing"), "conninfo": "passfile=/p"}, "There is no password file /p, which the row"),
    ],
)  # fmt: skip
def test_a_missing_password_is_cured_where_it_should_be(known: dict[str, Any], said: str) -> None:
    assert said in advice(NONE, rules=[line(2, "local", "scram-sha-256")], **known)


@pytest.mark.parametrize(
    "reason",
    [
        'invalid connection option "pasfile"',
        'missing "=" after "passfile" in connection info string',
        "unterminated quoted string in connection info string",
        'invalid integer value "x" for connection option "connect_timeout"',
        'invalid port number: "x"',
        'invalid sslmode value: "often"',
    ],
)
def test_a_typo_is_corrected_where_it_was_made(reason: str) -> None:
    told = advice(reason, conninfo="pasfile=/p")
    assert told.endswith("correct the row conninfo of background.pg_background_config")
    told = advice(reason, server={"sslmode": "often"})
    assert told.endswith("correct the options of server pg_background_loopback")


def test_who_asks_another_host_is_told_what_sent_him_there() -> None:
    told = advice(REFUSED, conninfo="host=localhost port=9")
    assert "The worker asks host localhost, port 9, by the row conninfo" in told
    assert "This server listens on port 5432, sockets in /run/postgresql" in told
    assert "by the options of server pg_background_loopback" in advice(
        REFUSED, server={"port": "9"}
    )
    assert "restart makes the file anew" in advice(NO_SOCKET)
    assert "listen_addresses" in advice(REFUSED, sockets="")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ('permission denied for database "shop"', "grant connect on database shop to app"),
        ('database "shop" is not currently accepting connections', "alter database shop allow_connections true"),
        ('role "app" is not permitted to log in', "alter role app login, or let another role launch"),
    ],
)  # fmt: skip
def test_what_the_server_itself_names_is_one_command(reason: str, told: str) -> None:
    assert advice(reason) == told


def test_methods_that_no_worker_can_serve_are_named() -> None:
    told = advice(
        'FATAL:  GSSAPI authentication failed for user "app"', rules=[line(1, "local", "gss")]
    )
    assert told.startswith("pg_hba.conf line 1 logs in by gss.")
    assert "peer  map=pg_background" in told
    told = advice(WRONG_TCP, rules=[line(8, "host", "ldap", address="all")], sockets="")
    assert told.startswith("pg_hba.conf line 8 logs in by ldap. The worker has no password")


def test_words_that_nobody_has_foreseen_still_say_where_the_worker_goes() -> None:
    assert "host /run/postgresql, port 5432" in advice("FATAL:  the moon is full")


@pytest.mark.parametrize(
    "text",
    ["", "host=a port=1", "host = 'a b'  port=1", r"password='it\'s' host=x", r"a=b\ c host='' port=2 ",
     "host=/run user=x'y"],
)  # fmt: skip
def test_a_connection_string_is_read_as_libpq_does(text: str) -> None:
    known = text.replace("a=b", "user=b")
    assert refused.words(known) == psycopg.conninfo.conninfo_to_dict(known)


@pytest.mark.parametrize("text", ["host", "host=a port", "=", "a b=c", "host='a"])
def test_a_broken_connection_string_is_read_as_far_as_it_goes(text: str) -> None:
    assert set(refused.words(text)) <= {"host"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*:*:*:app:secret", True),
        ("localhost:5432:shop:app:a:b", True),
        ("# *:*:*:app:secret", False),
        ("*:*:*:ap\\p:secret", True),
        ("*:5433:*:app:secret", False),
        ("*:*:app:secret", False),
        ("\n*:*:*:other:x\n*:*:*:*:y\n", True),
    ],
)
def test_a_line_of_a_password_file_fits_or_does_not(text: str, found: bool) -> None:
    assert refused.speaks(text, ("localhost", "5432", "shop", "app")) is found
