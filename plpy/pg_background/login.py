"""How a worker logs in: its connection string, and what a refusal means. Inside the door."""

from __future__ import annotations

import os

from pg_background import db
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FOREIGN_SERVER = "pg_background_loopback"
# What is true of every link from its first statement on, whatever a role or a database has set.
CLEAN = (
    " -c search_path=pg_catalog,\\ pg_temp"
    " -c standard_conforming_strings=on"
    " -c idle_in_transaction_session_timeout=0"
    " -c statement_timeout=0"
    " -c lock_timeout=0"
    " -c default_transaction_isolation=read\\ committed"
    " -c default_transaction_read_only=off"
    " -c default_transaction_deferrable=off"
    " -c role=none"
)
# A worker is silent, because its launcher may have left; it ends itself when nothing comes for a
# minute, and waits for no one with its socket.
WORKER_OPTIONS = (
    "-c client_min_messages=error -c client_connection_check_interval=0 -c idle_session_timeout=60000"
    + CLEAN
)
# The executor of a top-level job talks, because its messages are kept, and ends with its worker.
EXECUTOR_OPTIONS = (
    "-c client_min_messages=notice -c client_connection_check_interval=1000 -c idle_session_timeout=0"
    + CLEAN
)

_PLACE = (
    "select pg_catalog.current_database()::pg_catalog.text as database,"
    " pg_catalog.getdatabaseencoding()::pg_catalog.text as encoding,"
    " pg_catalog.current_setting('port') as port,"
    " pg_catalog.current_setting('unix_socket_directories') as sockets,"
    f" (select value from {db.SCHEMA}.pg_background_config where name = 'conninfo') as conninfo"
)

# A server of somebody who is no superuser is not asked: it could send the jobs of all anywhere.
_MAPPING = (
    "with s as ("
    "  select f.oid, f.srvoptions from pg_catalog.pg_foreign_server f"
    "    join pg_catalog.pg_roles r on r.oid = f.srvowner"
    "   where f.srvname = $1 and r.rolsuper"
    ") select o.option_name as name, o.option_value as value, o.rank from ("
    "  select 0 as rank, t.* from s, pg_catalog.pg_options_to_table(s.srvoptions) t"
    "  union all"
    "  select case when m.umuser = 0 then 1 else 2 end, t.*"
    "    from pg_catalog.pg_user_mapping m"
    "    join s on s.oid = m.umserver, pg_catalog.pg_options_to_table(m.umoptions) t"
    "   where m.umuser in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = $2))"
    ") o order by o.rank"
)
_HAS_SERVER = "select exists (select from pg_catalog.pg_foreign_server f where f.srvname = $1)"


def place() -> dict[str, str]:
    """Where this server listens, which database this is, and what the DBA has set for logins."""
    found = db.row(_PLACE)
    return found or {}


def user_mapping(role: str) -> dict[str, str]:
    """Options of the foreign server and of a role's (or PUBLIC's) user mapping there."""
    if not db.value(_HAS_SERVER, ("name",), (FOREIGN_SERVER,)):
        return {}
    found = db.rows(_MAPPING, ("name", "name"), (FOREIGN_SERVER, role))
    return {each["name"]: each["value"] for each in found}


def conninfo(login: str, options: str) -> str:
    """Libpq's connection string for this server, this database and this login."""
    here = place()
    words = {
        # dblink takes a foreign server's name, too, and cuts what it is given to the length of one:
        # nobody can make a server with a name that begins like this.
        "fallback_application_name": os.urandom(24).hex(),
        "host": here["sockets"].split(",")[0].strip() or "localhost",
        "port": here["port"],
        "connect_timeout": "10",
    }
    words.update(user_mapping(login))
    # Whatever the DBA has set for logins, a worker is in this database, speaks its encoding and is who its launcher is.
    fixed = {
        "dbname": here["database"],
        "user": login,
        "options": options,
        "client_encoding": here["encoding"],
        "fallback_application_name": "pg_background",
    }
    return f"{_words(words)} {here['conninfo'] or ''} {_words(fixed)}"


def _words(words: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_quote(value)}" for name, value in words.items())


def _quote(value: str) -> str:
    """A value of a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def refusal(login: str, error: BaseException) -> Refusal:
    """The server's reason, and the cure."""
    fields = db.server_fields(error)
    reason = (fields["detail"] or db.server_message(error)).strip()
    if (
        "remaining connection slots" in reason
        or "too many clients" in reason
        or "too many connections" in reason
    ):
        return Refusal(
            "no connection is left for a background worker",
            "53300",
            detail=reason,
            hint="Wait for jobs to end, or raise max_connections; CONNECTION LIMIT of a role or database counts too.",
        )
    return Refusal(
        f'the worker could not log in as "{login}"',
        "08001",
        detail=reason,
        hint="select * from pg_background_check() names the lines that pg_hba.conf needs.",
    )
