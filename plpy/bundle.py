r"""The build: one SQL text from plpy/ and sql/, in the three shapes that users install.

    python3 plpy/bundle.py [--schema background] [--out dist]

writes install.sql (for psql), uninstall.sql, the optional cron.sql, and the files of the extension.
sql/install.sql and sql/cron.sql are tables of contents: each `\i file` is replaced by the file,
`\modules folder` by one function a Python module that holds its source. Needs nothing but Python's
standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SQL = ROOT / "sql"
NAME = "pg_background_plpy"


def version() -> str:
    """The version, which stands in pyproject.toml and nowhere else."""
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        message = "pyproject.toml names no version"
        raise SystemExit(message)
    return found.group(1)


def modules(folder: Path) -> list[Path]:
    """The Python modules of a folder, in order of their names."""
    return sorted(folder.glob("*.py"))


def source_function(module: Path) -> str:
    """An immutable function that returns a module's source, verbatim from the first line on."""
    return (
        f"create function pgbackground.source_{module.stem}() returns text\n"
        "language sql immutable parallel safe\n"
        f"as $sql$select pg_catalog.substr($module_text$\n{module.read_text()}$module_text$, 2)$sql$;\n"
    )


def expand(contents: Path) -> str:
    """The text that a table of contents stands for."""
    pieces = []
    for line in contents.read_text().splitlines():
        command, _, argument = line.partition(" ")
        if command == "\\i":
            pieces.append((SQL / argument).read_text())
        elif command == "\\modules":
            pieces.extend(source_function(module) for module in modules(ROOT / argument))
        else:
            pieces.append(line)
    return "\n".join(pieces)


def stamped(text: str) -> str:
    """The text with version, names of modules, and a hash of everything in their places."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    names = " ".join(module.stem for module in modules(ROOT / "plpy/pg_background"))
    return (
        text.replace("@hash@", digest).replace("@version@", version()).replace("@modules@", names)
    )


def quoted(identifier: str) -> str:
    """An identifier as SQL; quoted only where it must be, as the server does for extensions."""
    if re.search(r"[\"$'\\@]", identifier):
        message = f"a schema name may not contain any of \" $ ' \\ @: {identifier}"
        raise SystemExit(message)
    return identifier if re.fullmatch(r"[a-z_][a-z0-9_]*", identifier) else f'"{identifier}"'


def build(schema: str, out: Path) -> list[Path]:
    """Write every shape and return the files written."""
    body = stamped(expand(SQL / "install.sql"))
    prologue = (SQL / "prologue.sql").read_text()
    control = (SQL / f"{NAME}.control").read_text()
    guard = f"\\echo Use CREATE EXTENSION {NAME} to load this file. \\quit"
    extension_only = (SQL / "extension_tables.sql").read_text()
    name = quoted(schema)
    texts = {
        "install.sql": f"{prologue}\n{body}\ncommit;\n".replace("@extschema@", name),
        "cron.sql": f"{expand(SQL / 'cron.sql')}\n".replace("@extschema@", name),
        "uninstall.sql": (SQL / "uninstall.sql").read_text().replace("@extschema@", name),
        f"{NAME}--{version()}.sql": f"{guard}\n{body}\n{extension_only}",
        f"{NAME}.control": control,
    }
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (out / file).write_text(text.replace("@version@", version()))
    return [out / file for file in texts]


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Write the installable SQL.")
    parser.add_argument("--schema", default="background")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    for file in build(options.schema, options.out):
        print(file)


if __name__ == "__main__":
    main()
