"""Whoever can run SQL in the background here, and the SQL with which each of them does it.

Every peer gets the same functions in schema `bench`, named after it. They take the time inside the
session with clock_timestamp(), in ms; what tidies up afterwards is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tools.product import SCHEMA

C_SCHEMA = "public"
HERE = "pg_background_plpy"
C = "pg_background 2.0 (C)"
DBLINK_COLD = "dblink, connect per call"
DBLINK_WARM = "dblink, warm"
CRON = "pg_cron, every second"

# What stands behind each call of the table of targets, for a peer with the verbs of pg_background.
BACKGROUND = """
create function bench.{word}_launch(sql text, out launch float8, out waited float8, out cycle float8) as $$
declare t0 timestamptz; t1 timestamptz; t2 timestamptz; h {schema}.pg_background_handle;
begin
    t0 := clock_timestamp();
    h := {schema}.pg_background_launch(sql);
    t1 := clock_timestamp();
    perform {schema}.pg_background_wait(h.pid, h.cookie);
    t2 := clock_timestamp();
    perform {schema}.pg_background_detach(h.pid, h.cookie);
    launch := bench.ms(t0, t1); waited := bench.ms(t0, t2); cycle := bench.ms(t0, clock_timestamp());
end $$ language plpgsql;

create function bench.{word}_run(sql text, times int, out total float8) as $$
declare t0 timestamptz := clock_timestamp();
begin
    for i in 1 .. times loop
        perform {schema}.pg_background_run(sql);
    end loop;
    total := bench.ms(t0, clock_timestamp());
end $$ language plpgsql;

create function bench.{word}_submit(sql text, times int, places int, out total float8) as $$
declare t0 timestamptz := clock_timestamp(); h {schema}.pg_background_handle[]; o {schema}.pg_background_handle;
begin
    for i in 1 .. times + places loop
        o := h[i - places];
        if o.pid is not null then
            perform {schema}.pg_background_wait(o.pid, o.cookie);
            perform {schema}.pg_background_detach(o.pid, o.cookie);
        end if;
        if i <= times then
            h[i] := {schema}.pg_background_submit(sql);
        end if;
    end loop;
    total := bench.ms(t0, clock_timestamp());
end $$ language plpgsql;

create function bench.{word}_woken(out late float8) as $$
declare h {schema}.pg_background_handle; t1 timestamptz;
begin
    h := {schema}.pg_background_launch('select pg_sleep(0.01); insert into bench.mark values (clock_timestamp())');
    perform {schema}.pg_background_wait(h.pid, h.cookie);
    t1 := clock_timestamp();
    perform {schema}.pg_background_detach(h.pid, h.cookie);
    delete from bench.mark returning bench.ms(at, t1) into late;
end $$ language plpgsql;

create function bench.{word}_read(rows int, out total float8) as $$
declare t0 timestamptz := clock_timestamp(); h {schema}.pg_background_handle; n int8;
begin
    h := {schema}.pg_background_launch(bench.wide(rows));
    select count(*) into n from {schema}.pg_background_result(h.pid, h.cookie) as r (i int, t text);
    total := bench.ms(t0, clock_timestamp());
    if n <> rows then
        raise 'read % rows of %', n, rows;
    end if;
    begin
        perform {schema}.pg_background_detach(h.pid, h.cookie);
    exception when undefined_object then
        null; -- the C extension has forgotten a job whose rows were read
    end;
end $$ language plpgsql;
"""

# The same by hand over dblink: {open} and {close} stand around each call, or there is a connection.
DBLINK = """
create function bench.{word}_launch(sql text, out launch float8, out waited float8, out cycle float8) as $$
declare t0 timestamptz; t1 timestamptz; t2 timestamptz;
begin
    t0 := clock_timestamp();
    {open}
    perform dblink_send_query('{word}', sql);
    t1 := clock_timestamp();
    perform * from dblink_get_result('{word}') as r (answer text);
    perform * from dblink_get_result('{word}') as r (answer text);
    t2 := clock_timestamp();
    {close}
    launch := bench.ms(t0, t1); waited := bench.ms(t0, t2); cycle := bench.ms(t0, clock_timestamp());
end $$ language plpgsql;

create function bench.{word}_run(sql text, times int, out total float8) as $$
declare t0 timestamptz := clock_timestamp();
begin
    for i in 1 .. times loop
        {open}
        perform dblink_exec('{word}', sql);
        {close}
    end loop;
    total := bench.ms(t0, clock_timestamp());
end $$ language plpgsql;

create function bench.{word}_woken(out late float8) as $$
declare t1 timestamptz;
begin
    {open}
    perform dblink_send_query('{word}', 'with w as materialized (select pg_sleep(0.01)),'
        ' i as (insert into bench.mark select clock_timestamp() from w returning 1) select ''x''::text from i');
    perform * from dblink_get_result('{word}') as r (answer text);
    perform * from dblink_get_result('{word}') as r (answer text);
    t1 := clock_timestamp();
    {close}
    delete from bench.mark returning bench.ms(at, t1) into late;
end $$ language plpgsql;

create function bench.{word}_read(rows int, out total float8) as $$
declare t0 timestamptz := clock_timestamp(); n int8;
begin
    {open}
    perform dblink_send_query('{word}', bench.wide(rows));
    select count(*) into n from dblink_get_result('{word}') as r (i int, t text);
    total := bench.ms(t0, clock_timestamp());
    perform * from dblink_get_result('{word}') as r (answer text);
    {close}
    if n <> rows then
        raise 'read % rows of %', n, rows;
    end if;
end $$ language plpgsql;
"""

COMMON = """
create schema bench;
create table bench.t (n int4);
create table bench.mark (at timestamptz not null);
create table bench.done (session int4, job int4);
create function bench.ms(t0 timestamptz, t1 timestamptz) returns float8 language sql immutable
    as $$ select extract(epoch from t1 - t0)::float8 * 1000 $$;
create function bench.wide(rows int) returns text language sql immutable
    as $$ select format('select i, ''row '' || i as t from generate_series(1, %s) i', rows) $$;
-- Memory that a process has for itself, in MB, and the CPU it has used, in ms; null when it is gone.
create function bench.memory(pid int4) returns float8 language plpython3u as $$
try:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
except (FileNotFoundError, ProcessLookupError, StopIteration):
    return None
$$;
create function bench.cpu(pid int4) returns float8 language plpython3u as $$
import os
try:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
except (FileNotFoundError, ProcessLookupError):
    return None
$$;
create function bench.one() returns int4 language plpython3u as $$ return 1 $$;
"""


@dataclass(frozen=True)
class Peer:
    """Somebody who runs SQL in the background."""

    name: str
    # what its functions in schema bench begin with
    word: str
    # where its verbs are; none for dblink
    schema: str | None = None


@dataclass
class Peers:
    """Who is here, and why the others are not."""

    present: list[Peer] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def with_verbs(self) -> list[Peer]:
        """Return the peers that have the verbs of pg_background."""
        return [peer for peer in self.present if peer.schema]


def prepare(connection: psycopg.Connection[Any]) -> Peers:
    """Make what the measurements call, in a database that has the product."""
    connection.execute(COMMON)
    here = Peer(HERE, "here", SCHEMA)
    connection.execute(BACKGROUND.format(word=here.word, schema=SCHEMA))
    peers = Peers([here])
    if _offers(connection, "pg_background", "2.%"):
        connection.execute(f"create extension pg_background schema {C_SCHEMA}")
        connection.execute(BACKGROUND.format(word="c", schema=C_SCHEMA))
        peers.present.append(Peer(C, "c", C_SCHEMA))
    else:
        peers.absent[C] = "this server does not offer it"
    for name, word, is_open in ((DBLINK_COLD, "cold", False), (DBLINK_WARM, "warm", True)):
        connect = f"perform dblink_connect('{word}', current_setting('bench.conninfo'));"
        disconnect = f"perform dblink_disconnect('{word}');"
        opened = f"if not '{word}' = any (coalesce(dblink_get_connections(), '{{}}')) then {connect} end if;"
        connection.execute(
            DBLINK.format(
                word=word,
                open=opened if is_open else connect,
                close="" if is_open else disconnect,
            )
        )
        peers.present.append(Peer(name, word))
    if not _offers(connection, "pg_cron", "%"):
        peers.absent[CRON] = "this server does not offer it"
    return peers


def conninfo(connection: psycopg.Connection[Any]) -> str:
    """Return how a backend of this server reaches its own database."""
    row = connection.execute(
        "select format('host=%s port=%s dbname=%s user=%s',"
        " split_part(current_setting('unix_socket_directories'), ',', 1),"
        " current_setting('port'), current_database(), session_user)"
    ).fetchone()
    return str(row[0]) if row else ""


def _offers(connection: psycopg.Connection[Any], extension: str, version: str) -> bool:
    found: Sequence[Any] | None = connection.execute(
        "select from pg_available_extensions where name = %s and default_version like %s",
        (extension, version),
    ).fetchone()
    return found is not None
