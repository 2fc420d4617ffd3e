-- What the DBA decides, in two tables of the public schema.

create table @extschema@.pg_background_config (
    name text primary key,
    value text not null
);
comment on table @extschema@.pg_background_config is
    'The DBA''s choices: conninfo (appended to the workers'' login), retention (interval, 7 days), max_history (finished jobs kept, 100000), free_connections (left for people, 3).';

create table @extschema@.pg_background_limits (
    scope text not null check (scope in ('session', 'role', 'database')),
    name text,
    max_workers int4 check (max_workers >= 0),
    worker_timeout int4 check (worker_timeout >= 0),
    id uuid primary key default pg_catalog.gen_random_uuid(),
    named oid,
    home text
);
create unique index pg_background_limits_rule on @extschema@.pg_background_limits (scope, coalesce(name, ''));
comment on table @extschema@.pg_background_limits is
    'Most running jobs per session, role or database, and the longest a job may take (worker_timeout, ms); name is a role or database, null for all.';
comment on column @extschema@.pg_background_limits.named is
    'The role or database that had the name when the row was written, which counts where home is this database: a renamed role keeps its limit. Filled in by itself.';
