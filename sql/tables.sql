-- The registry: one row a job. Nobody but the owner touches these tables; every function that does checks who asks.

create table @extschema@.job (
    cookie int8 primary key,
    lock_key int8 not null,
    pid int4 not null,
    executor_pid int4,
    launcher_pid int4 not null,
    login oid not null,
    role oid not null,
    label text,
    sql text not null,
    statements text[],
    kinds text[] not null,
    expected_tag text not null,
    params text[],
    setting_names text[],
    setting_values text[],
    session_limit int4 not null,
    timeout_ms int4 not null,
    queue_size int4 not null,
    mode text not null check (mode in ('inline', 'top-level')),
    keeps_rows bool not null,
    state text not null check (state in ('queued', 'running', 'stopped', 'error', 'canceled')),
    cancel_requested bool not null default false,
    timed_out bool not null default false,
    detached bool not null default false,
    token uuid,
    launched_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    row_count int8 not null default 0,
    command_tag text not null default '',
    columns text[],
    money_locale text,
    progress_pct int4,
    progress_msg text,
    sqlstate text,
    message text,
    detail text,
    hint text,
    context text,
    schema_name text,
    table_name text,
    column_name text,
    constraint_name text,
    expired_at timestamptz,
    begun bool,
    former_pids int4[],
    number int8 not null generated always as identity
);
comment on table @extschema@.job is 'The registry: one row a job, keyed by its cookie.';
comment on column @extschema@.job.lock_key is
    'Key of the advisory lock that the worker holds for the life of the job. pg_locks shows it to everybody, so it is never the cookie.';
comment on column @extschema@.job.params is 'Values of $1, $2 ... as text; null when the text takes none.';
comment on column @extschema@.job.setting_names is
    'Of queued jobs: the settings that the launcher had; a job that starts at once gets them over its link.';
comment on column @extschema@.job.timeout_ms is 'pg_background.worker_timeout of the launcher; 0 means none.';
comment on column @extschema@.job.token is
    'Known to the worker''s own procedure only: without it nobody records an outcome or rows.';
comment on column @extschema@.job.login is 'The role the worker logged in as: its session_user.';
comment on column @extschema@.job.role is 'The launcher''s current_user: whose job this is, and the job''s current_user.';
comment on column @extschema@.job.statements is 'The statements of the text, one by one; null when the text is one statement.';
comment on column @extschema@.job.kinds is 'How the worker runs each statement: rows, maybe, wrap, none, into, top, or a refusal.';
comment on column @extschema@.job.expected_tag is 'The command tag that the last statement gives when it succeeds.';
comment on column @extschema@.job.columns is '{names, kinds} of the result''s columns, see _columns; null when the job returned no rows or none are kept.';

comment on column @extschema@.job.expired_at is 'When the job was canceled because its time-out was over; it is ended a little later.';
comment on column @extschema@.job.begun is
    'Of a job from the queue: has the worker that has taken it up begun with it? A top-level job begins when it has an executor.';
comment on column @extschema@.job.former_pids is
    'Workers that were lost before they had begun with this job, which went back into the queue: handles with their pid stay valid.';
comment on column @extschema@.job.number is 'Counts the jobs: how many came after this one decides whether it outlives max_history.';

-- Rows come and go all the time: tidy up before the dead ones are many.
alter table @extschema@.job set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

-- Live jobs, found by their worker: for limits, for the books of a reused link, for progress.
create index job_live on @extschema@.job (pid) where state in ('queued', 'running');

-- Retention walks from the oldest end: of all finished jobs by age, by number, and of those that go sooner.
create index job_finished on @extschema@.job (finished_at) where state in ('stopped', 'error', 'canceled');
create index job_number on @extschema@.job (number) where state in ('stopped', 'error', 'canceled');
create index job_passing on @extschema@.job (finished_at) where state = 'stopped' and detached and not keeps_rows;

create table @extschema@.job_rows (
    cookie int8 not null,
    chunk int4 not null,
    rows text[] not null,
    primary key (cookie, chunk)
);
comment on table @extschema@.job_rows is
    'Rows of finished jobs as composite literals, in chunks; what result() reads.';

create table @extschema@.job_message (
    cookie int8 not null,
    seq int4 not null,
    severity text not null,
    message text not null,
    detail text,
    hint text,
    primary key (cookie, seq)
);
comment on table @extschema@.job_message is 'Messages (NOTICE, WARNING, INFO ...) of top-level jobs, in order.';

create table @extschema@.job_commit (
    cookie int8 primary key,
    row_count int8 not null,
    columns text[],
    progress text
);
comment on table @extschema@.job_commit is
    'Successes that are not in table job yet: a transaction with an old snapshot cannot change its job''s row when somebody else has, so it leaves this, and the row is written in the next transaction.';

create table @extschema@.retired (
    role oid not null,
    state text not null,
    jobs int8 not null,
    seconds float8 not null,
    primary key (role, state)
);
comment on table @extschema@.retired is
    'Finished jobs that are gone, counted: the counters of pg_background_metrics never go back.';

create sequence @extschema@.retired_number;
comment on sequence @extschema@.retired_number is 'No finished job of a lower number is more than max_history back. Not transactional.';
create sequence @extschema@.retired_none;
comment on sequence @extschema@.retired_none is 'When a worker last found no job that is too old, in seconds since 1970. Not transactional.';

create table @extschema@.retirement (
    only_lock bool
);
comment on table @extschema@.retirement is
    'Always one row: its lock lets one worker at a time retire finished jobs.';
insert into @extschema@.retirement values (null);

create table @extschema@.seal (
    secret text not null,
    names_were_public bool not null default false
);
comment on column @extschema@.seal.names_were_public is
    'Could everybody list the names of dblink connections before the installation? Uninstalling gives that back.';
comment on table @extschema@.seal is
    'What only the launcher''s own code knows: it seals the commands that travel over a link, so that nobody else can give them.';
insert into @extschema@.seal (secret)
select pg_catalog.concat(pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid());

create table @extschema@.registration (
    only_lock bool
);
comment on table @extschema@.registration is
    'Always empty: its lock lets one registration at a time count the live jobs.';

-- Each count of the live jobs says how many more may start before it has to be done again: jobs that end only make room.
create sequence @extschema@.room increment by -1 minvalue -9223372036854775807 maxvalue 1000000000 start with -1;
comment on sequence @extschema@.room is
    'How many jobs may start before the live ones are counted again. Counting is slow while an old snapshot keeps dead index entries alive.';

create table @extschema@.pg_background_config (
    name text primary key,
    value text not null
);
comment on table @extschema@.pg_background_config is
    'The DBA''s choices: conninfo (appended to the workers'' login), retention (interval, 7 days), max_history (finished jobs kept, 100000), free_connections (left for people, 3).';

create table @extschema@.pg_background_limits (
    scope text not null check (scope in ('session', 'role', 'database')),
    name text,
    max_workers int4 not null check (max_workers >= 0)
);
create unique index pg_background_limits_rule on @extschema@.pg_background_limits (scope, coalesce(name, ''));
comment on table @extschema@.pg_background_limits is
    'Most running jobs per session, role or database; name is a role or database, null for all.';
