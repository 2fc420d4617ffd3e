"""Why the server refused a worker's login, and what cures it. Pure: what is to be known is handed in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

# From here on pg_ident.conf knows roles by membership, and "all".
IDENT_KNOWS_MEMBERS = 16
MAP = "pg_background"
SERVER = "pg_background_loopback"
# Libpq's words for a connection string that it cannot read, or whose values mean nothing.
TYPOS = (
    "invalid connection option",
    'missing "=" after',
    "unterminated quoted string",
    "invalid port number",
    "invalid integer value",
    "invalid sslmode value",
    "invalid gssencmode value",
    "invalid channel_binding value",
    "invalid target_session_attrs value",
    "invalid require_auth value",
    "could not match",
)
# And for a server that does not answer.
NOBODY_THERE = (
    "Is the server running",
    "Connection refused",
    "could not translate host name",
    "timeout expired",
    "No route to host",
    "Network is unreachable",
    "server closed the connection unexpectedly",
)
# Ways of logging in that take a password.
OF_THE_ROLE = ("scram-sha-256", "md5", "password")
WITH_PASSWORD = (*OF_THE_ROLE, "ldap", "radius", "pam", "bsd")
# What is amiss with a password file.
PASSFILES = {
    "open": "The password file {path} is not used, because others may read it: chmod 0600 {path}",
    "unreadable": "The password file {path} cannot be read by {user}: make it that user's, mode 0600",
    "silent": "The password file {path} has no line for this login. Add one:\n*:*:*:{login}:...",
}


class Facts:
    """What is known of a refused login.

    login:       the role.
    database:    this database.
    sockets:     unix_socket_directories. port: the server's own.
    conninfo:    what the DBA has set in pg_background_config, or None.
    server:      options of the foreign server, if there is one that is asked.
    mapping:     options of the login's (or PUBLIC's) user mapping there; None: there is none.
    stranger:    who owns the foreign server, where that is no superuser and it is not asked.
    rules:       lines of pg_hba.conf that this login and this database match, in order:
                 place, type, address, netmask, method, map.
    passfile:    path and state (missing, open, unreadable, silent, speaks) of the password file that libpq looks into.
    system_user: whom the operating system knows the server as. version: its major version.
    schema:      where the product is, quoted.
    """

    def __init__(self, **facts: Any) -> None:
        self.login: str = facts["login"]
        self.database: str = facts["database"]
        self.sockets: str = facts["sockets"]
        self.port: str = facts["port"]
        self.conninfo: str | None = facts["conninfo"]
        self.server: Mapping[str, str] | None = facts["server"]
        self.mapping: Mapping[str, str] | None = facts["mapping"]
        self.stranger: str | None = facts["stranger"]
        self.rules: Sequence[Mapping[str, Any]] = facts["rules"]
        self.passfile: tuple[str, str] = facts["passfile"]
        self.system_user: str = facts["system_user"]
        self.version: int = facts["version"]
        self.schema: str = facts["schema"]

    def word(self, name: str) -> str | None:
        """The value of a word of the connection string that is in effect."""
        found = words(self.conninfo or "").get(name)
        return found or (self.mapping or {}).get(name) or (self.server or {}).get(name)

    @property
    def host(self) -> str:
        """The host that the worker asks for."""
        return self.word("host") or self.sockets.split(",")[0].strip() or "localhost"

    @property
    def by_socket(self) -> bool:
        """Does the worker come by a Unix socket?"""
        return self.host.startswith(("/", "@")) and not self.word("hostaddr")


def cure(reason: str, facts: Facts) -> str:
    """What the DBA can do, by what libpq and the server said."""
    for said, advise in CURES:
        if any(each in reason for each in said):
            return advise(reason, facts)
    return f"The server's words say what is amiss. {_where_it_looks(facts)}"


def _grant_connect(_: str, facts: Facts) -> str:
    return f"grant connect on database {quoted(facts.database)} to {quoted(facts.login)}"


def _allow_connections(_: str, facts: Facts) -> str:
    return f"alter database {quoted(facts.database)} allow_connections true"


def _allow_login(_: str, facts: Facts) -> str:
    return f"alter role {quoted(facts.login)} login, or let another role launch"


def _another_server(_: str, facts: Facts) -> str:
    return f"This is another server: {_where_it_looks(facts)}"


def _rejected(reason: str, facts: Facts) -> str:
    rule = _rule(reason, facts)
    if rule is not None and rule["method"] != "reject":
        return _reload(rule)
    where = rule["place"] if rule else "A line of pg_hba.conf"
    return f"{where} rejects this login.\n" + _new_line(reason, facts)


def _correct_the_words(_: str, facts: Facts) -> str:
    at = []
    if facts.conninfo:
        at.append(_row(facts))
    if facts.server:
        at.append(f"the options of server {SERVER}")
    if facts.mapping:
        at.append(f"the options of its user mapping for {quoted(facts.login)}")
    return "libpq cannot read the connection string: correct " + " or ".join(at or ["it"])


def _where_it_looks(facts: Facts) -> str:
    """Where host and port of the worker's login come from."""
    port = facts.word("port") or facts.port
    told = f"The worker asks host {facts.host}, port {port}"
    own = words(facts.conninfo or "")
    if "host" in own or "port" in own or "hostaddr" in own:
        return f"{told}, by {_row(facts)}: correct it."
    if any(name in (facts.server or {}) for name in ("host", "port", "hostaddr")):
        return f"{told}, by the options of server {SERVER}: correct them."
    return f"{told}, by this server's own settings."


def _nobody_there(reason: str, facts: Facts) -> str:
    told = _where_it_looks(facts)
    if not told.endswith("own settings."):
        return f"Nobody answers there. {told} This server listens on port {facts.port}" + (
            f", sockets in {facts.sockets}." if facts.sockets else ", without sockets."
        )
    if "socket" in reason:
        return (
            f"The socket's file is gone, or its folder is closed to {quoted(facts.system_user)}. {told}"
            " A restart makes the file anew."
        )
    return (
        "The server does not listen there: listen_addresses has to hold localhost,"
        f" or unix_socket_directories a folder. {told}"
    )


def _no_line(reason: str, facts: Facts) -> str:
    rule = _rule(reason, facts)
    if rule is not None and rule["method"] != "reject":
        return _reload(rule)
    return "No line of pg_hba.conf fits.\n" + _new_line(reason, facts)


def _reload(rule: Mapping[str, Any]) -> str:
    return (
        f"{rule['place']} would let it in: the server has not read it yet. select pg_reload_conf()"
    )


def _new_line(reason: str, facts: Facts) -> str:
    """A line that lets workers in, by the way they come."""
    if facts.by_socket:
        return "\n".join(
            (
                "In pg_hba.conf, before the other lines:",
                f"local  all  +pgbackground_role  peer  map={MAP}",
                "In pg_ident.conf:",
                *ident_lines(facts.login, facts.version, facts.system_user),
                "Then: select pg_reload_conf()",
                "Or, if these logins are to give a password:",
                _give_password(facts),
            )
        )
    address = _address(reason) or "localhost"
    if ":" in address or address.replace(".", "").isdigit():
        address += "/128" if ":" in address else "/32"
    return "\n".join(
        (
            "In pg_hba.conf, before the other lines:",
            f"host  all  +pgbackground_role  {address}  scram-sha-256",
            "Then: select pg_reload_conf(), and a password for the worker:",
            _give_password(facts),
        )
    )


def ident_lines(login: str, major: int, system_user: str, name: str = MAP) -> list[str]:
    """Lines of pg_ident.conf: the server's own user may be the role, and everybody himself."""
    role = "+pgbackground_role" if major >= IDENT_KNOWS_MEMBERS else quoted(login)
    return [f"{name}  {quoted(system_user)}  {role}", f"{name}  /^(.*)$  \\1"]


def _map_does_not_fit(reason: str, facts: Facts) -> str:
    rule = _rule(reason, facts)
    if rule is not None and rule["method"] not in ("peer", "ident"):
        return _reload(rule)
    user, login = quoted(facts.system_user), quoted(facts.login)
    if rule is None or not rule["map"]:
        where = rule["place"] if rule else "The line of pg_hba.conf"
        return f"{where} has no map: only {user} itself may log in by it.\n" + _new_line(
            reason, facts
        )
    return "\n".join(
        (
            f"{rule['place']} asks the map {rule['map']}, which does not let {user} be {login}.",
            "In pg_ident.conf:",
            *ident_lines(facts.login, facts.version, facts.system_user, rule["map"]),
            "Then: select pg_reload_conf()",
        )
    )


def _no_password(_: str, facts: Facts) -> str:
    """The server asks for a password, and the worker has none."""
    path, state = facts.passfile
    user = quoted(facts.system_user)
    if facts.stranger is not None:
        return (
            f"Server {SERVER} is not asked, because its owner {quoted(facts.stranger)} is no superuser:"
            f" alter server {SERVER} owner to postgres"
        )
    if state == "missing" and words(facts.conninfo or "").get("passfile"):
        return f"There is no password file {path}, which {_row(facts)} names: make it {user}'s, mode 0600."
    if state in PASSFILES:
        return PASSFILES[state].format(path=path, user=user, login=facts.login) + (
            "\nOr:\n" + _give_password(facts) if state == "silent" else ""
        )
    return "The worker has no password to give.\n" + _give_password(facts)


def _give_password(facts: Facts) -> str:
    create = (
        ""
        if facts.server is not None
        else f"create server {SERVER} foreign data wrapper dblink_fdw;\n"
    )
    if facts.mapping is not None:
        word = "set" if "password" in facts.mapping else "add"
        return (
            f"alter user mapping for {quoted(facts.login)} server {SERVER}"
            f" options ({word} password '...')"
        )
    return (
        f"{create}create user mapping for {quoted(facts.login)} server {SERVER}"
        " options (password '...')"
    )


def _wrong_password(reason: str, facts: Facts) -> str:
    login = quoted(facts.login)
    rule = _rule(reason, facts)
    method = rule["method"] if rule else None
    told = f"{rule['place']} logs in by {method}. " if rule and method not in OF_THE_ROLE else ""
    if words(facts.conninfo or "").get("password"):
        place = _row(facts)
    elif (facts.mapping or {}).get("password"):
        place = f"the user mapping ({_give_password(facts)})"
    elif "password retrieved from file" in reason or facts.passfile[1] == "speaks":
        place = f"the line for {facts.login} in {facts.passfile[0]}"
    elif method is None or method in WITH_PASSWORD:
        return told + _no_password(reason, facts)
    else:
        return f"{told}Workers log in best by a line of their own.\n" + _new_line(reason, facts)
    return f"{told}The password is not the role's: correct {place}, or alter role {login} password '...'"


def _row(facts: Facts) -> str:
    return f"the row conninfo of {facts.schema}.pg_background_config"


def _address(reason: str) -> str | None:
    """The address that the server saw or libpq tried, as their words tell it."""
    for before, after in (('for host "', '"'), (" (", "), port")):
        _, found, rest = reason.partition(before)
        if found and after in rest:
            address = rest.partition(after)[0]
            return None if address == "[local]" else address
    return None


def _rule(reason: str, facts: Facts) -> Mapping[str, Any] | None:
    """The first line that fits, as the server looks for it."""
    address = None if facts.by_socket else _address(reason)
    for rule in facts.rules:
        if facts.by_socket:
            if rule["type"] == "local":
                return rule
        elif rule["type"].startswith("host") and _covers(rule, address):
            return rule
    return None


def _covers(rule: Mapping[str, Any], address: str | None) -> bool:
    """Does a line's address hold this one? What cannot be told here (names of hosts) is taken for a no."""
    if rule["address"] in ("all", "samehost", "samenet"):
        return True
    if address is None or not rule["netmask"]:
        return bool(rule["address"] == "localhost")
    from ipaddress import ip_address, ip_interface

    try:
        seen, first = ip_address(address), ip_interface(rule["address"]).ip
        mask = int(ip_address(rule["netmask"]))
    except ValueError:
        return False
    return bool(seen.version == first.version and int(seen) & mask == int(first) & mask)


def words(conninfo: str) -> dict[str, str]:
    """The words of a connection string; what libpq could not read, either, ends it."""
    found: dict[str, str] = {}
    place, end = 0, len(conninfo)
    while True:
        equals = conninfo.find("=", place)
        name = conninfo[place:equals].strip()
        if equals < 0 or not name or " " in name:
            return found
        place = equals + 1
        while place < end and conninfo[place].isspace():
            place += 1
        quote = place < end and conninfo[place] == "'"
        place += quote
        value = []
        while place < end and not (conninfo[place] == "'" if quote else conninfo[place].isspace()):
            if conninfo[place] == "\\" and place + 1 < end:
                place += 1
            value.append(conninfo[place])
            place += 1
        place += quote
        found[name] = "".join(value)


def speaks(text: str, facts_of: Sequence[str]) -> bool:
    """Has a password file a line for this host, port, database and user?"""
    for line in text.splitlines():
        fields = [""]
        letters = iter(line if not line.startswith("#") else "")
        for letter in letters:
            if letter == "\\":
                fields[-1] += next(letters, "")
            elif letter == ":" and len(fields) <= len(facts_of):
                fields.append("")
            else:
                fields[-1] += letter
        if len(fields) == len(facts_of) + 1 and all(
            field in ("*", wanted) for field, wanted in zip(fields, facts_of)
        ):
            return True
    return False


def quoted(name: str) -> str:
    """A name as SQL and the server's configuration files write it."""
    if name.isidentifier() and name.isascii() and name.islower():
        return name
    return '"' + name.replace('"', '""') + '"'


# The first that fits counts.
CURES: Sequence[tuple[Sequence[str], Callable[[str, Facts], str]]] = (
    (TYPOS, _correct_the_words),
    (NOBODY_THERE, _nobody_there),
    (("permission denied for database",), _grant_connect),
    (("not currently accepting connections",), _allow_connections),
    (("is not permitted to log in",), _allow_login),
    (("no pg_hba.conf entry",), _no_line),
    (("pg_hba.conf rejects",), _rejected),
    (("eer authentication failed", "dent authentication failed"), _map_does_not_fit),
    (("no password supplied",), _no_password),
    (("authentication failed",), _wrong_password),
    (("does not exist",), _another_server),
)
