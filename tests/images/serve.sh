#!/bin/sh
# Entry of the test images: creates a cluster in $PGDATA if none is there, and becomes its server.
# Arguments go to postgres, for example: -c fsync=off
# Anybody who reaches the port is superuser; publish it on loopback only.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --pgdata="$PGDATA" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8
    echo 'host all all all trust' >> "$PGDATA/pg_hba.conf"
    # pg_cron starts only when preloaded. Each job of the C extension, where it is installed, takes
    # a worker process, and the default of 8 is too few to compare concurrent jobs.
    cat >> "$PGDATA/postgresql.conf" <<'settings'
listen_addresses = '*'
shared_preload_libraries = 'pg_cron'
max_worker_processes = 32
settings
fi

exec postgres "$@"
