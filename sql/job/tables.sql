-- The registry. Its tables belong to the owner alone; everybody else comes through views and functions that look at who asks.

create table pgbackground.job (
    cookie int8 primary key,
    state text not null check (state in ('queued', 'running', 'stopped', 'error', 'canceled')),
    live bool not null generated always as (state in ('queued', 'running')) stored,
    home text not null default pgbackground.home(),
    role oid not null,
    role_name name not null,
    login oid not null,
    login_name name not null,
    label text,
    sql text not null,
    statements text[],
    kinds text[] not null,
    expected_tag text not null,
    params text[],
    mode text not null check (mode in ('inline', 'top-level')),
    keeps_rows bool not null,
    detached bool not null default false,
    queue_size int4 not null,
    launcher_pid int4 not null,
    session_limit int4 not null,
    timeout_ms int4 not null,
    setting_names text[],
    setting_values text[],
    transaction xid8,
    run_at timestamptz,
    wanted_at timestamptz,
    priority int4 not null default 0,
    attempt int4 not null default 1,
    attempts int4 not null default 1,
    backoff_ms int8 not null default 10000,
    retry_on text not null default 'transient' check (retry_on in ('transient', 'any')),
    after_state text,
    key text,
    notify text,
    schedule int8,
    due_at timestamptz,
    pid int4 not null default 0,
    executor_pid int4,
    lock_key int8,
    begun bool,
    former_pids int4[],
    launched_at timestamptz not null default pg_catalog.clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    cancel_requested bool not null default false,
    timed_out bool not null default false,
    row_count int8 not null default 0,
    command_tag text not null default '',
    columns text[],
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
    number int8 not null
);
comment on table pgbackground.job is 'The registry: one row a job, keyed by its cookie.';
comment on column pgbackground.job.live is 'Is the job before its end?';
comment on column pgbackground.job.home is 'The cluster and the database that the job was made in; see home().';
comment on column pgbackground.job.role is 'The launcher''s current_user: whose job this is, and the job''s current_user.';
comment on column pgbackground.job.role_name is 'Its name, which tells whose job this is in a copy, where oids mean other roles.';
comment on column pgbackground.job.login is 'The role the worker logs in as: its session_user.';
comment on column pgbackground.job.statements is 'The statements of the text, one by one; null when the text is one statement.';
comment on column pgbackground.job.kinds is 'How the worker runs each statement: rows, maybe, none, into, top, done, or a refusal.';
comment on column pgbackground.job.expected_tag is 'The command tag that the last statement gives when it succeeds.';
comment on column pgbackground.job.params is 'Values of $1, $2 ... as text; null when the text takes none.';
comment on column pgbackground.job.timeout_ms is 'Bound of the whole job in ms; 0 means none.';
comment on column pgbackground.job.setting_names is
    'Of queued jobs: the settings that the launcher had; a job that starts at once gets them over its link.';
comment on column pgbackground.job.transaction is 'Of enqueued jobs: the transaction that they belong to until it commits.';
comment on column pgbackground.job.run_at is
    'Of queued jobs: not before; null for as soon as there is room, infinity while the job waits for others.';
comment on column pgbackground.job.wanted_at is 'What run_at will be when the jobs that this one waits for have ended.';
comment on column pgbackground.job.backoff_ms is 'The pause before the second attempt in ms.';
comment on column pgbackground.job.key is 'At most one live job of a role has it.';
comment on column pgbackground.job.notify is 'The channel that is told of the job''s end.';
comment on column pgbackground.job.lock_key is
    'Key of the advisory lock that the worker holds for the life of the job, made by the worker when the job starts. pg_locks shows it to everybody: it opens nothing.';
comment on column pgbackground.job.begun is
    'Of a job from the queue: has the worker that has taken it begun with it? A top-level job begins when it has an executor.';
comment on column pgbackground.job.former_pids is
    'Workers that were lost before they had begun with this job, which went back into the queue, the last 100 of them: handles with their pid stay valid.';
comment on column pgbackground.job.columns is '{names, kinds} of the result''s columns; null when the job returned no rows or none are kept.';
comment on column pgbackground.job.number is 'Counts the jobs of the role: how many came after this one decides whether it outlives max_history.';

-- Rows come and go all the time: tidy up before the dead ones are many.
alter table pgbackground.job set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

-- Live jobs, found by their worker: for limits, for a link that is used again, for progress.
create index job_live on pgbackground.job (pid) where live;

-- The queue: what may start now, by role and in its order; what is due later, by its time; keys.
create index job_queue on pgbackground.job (role, priority desc, launched_at) where state = 'queued' and run_at is null;
create index job_due on pgbackground.job (run_at) where state = 'queued' and run_at is not null;
create unique index job_key on pgbackground.job (role, key) where live and key is not null;
create unique index job_of_schedule on pgbackground.job (schedule, due_at) where schedule is not null;

-- Retention walks from the oldest end: of all finished jobs by age, of a role's by number, and of those that go sooner.
create index job_finished on pgbackground.job (finished_at) where not live;
create index job_number on pgbackground.job (role, number);
create index job_passing on pgbackground.job (finished_at) where state = 'stopped' and detached and not keeps_rows;

create table pgbackground.request (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    cookie int8 not null,
    kind text not null check (kind in ('cancel', 'expire', 'detach')),
    transaction xid8 not null default pg_catalog.pg_current_xact_id(),
    requested_at timestamptz not null default pg_catalog.clock_timestamp()
);
create index request_of_job on pgbackground.request (cookie);
comment on table pgbackground.request is
    'What somebody wishes of a live job. Nothing is unique here, so nobody waits for anybody''s open transaction.';
comment on column pgbackground.request.transaction is 'Who wishes signals only what has been committed: see signal().';

create table pgbackground.job_rows (
    cookie int8 not null,
    chunk int4 not null,
    rows text[] not null,
    primary key (cookie, chunk)
);
comment on table pgbackground.job_rows is
    'Rows of finished jobs as composite literals, in chunks; what result() reads.';

create table pgbackground.job_message (
    cookie int8 not null,
    seq int4 not null,
    severity text not null,
    message text not null,
    detail text,
    hint text,
    primary key (cookie, seq)
);
comment on table pgbackground.job_message is 'Messages (NOTICE, WARNING, INFO ...) of top-level jobs, in order.';

create table pgbackground.history (
    role oid primary key,
    gone int8 not null
);
comment on table pgbackground.history is
    'The roles that have let jobs go: of those with a number up to gone none is left that is more than max_history back. In steps, because each change leaves a dead row.';

-- Purpose: the number of a role's next job.
create function pgbackground.next_number(of_role oid) returns int8
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return 1 + coalesce((select max(j.number) from pgbackground.job j where j.role = of_role),
                        (select h.gone from pgbackground.history h where h.role = of_role), 0);
end
$plpgsql$;
