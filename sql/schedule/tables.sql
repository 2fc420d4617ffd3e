-- Schedules: what is to be queued again and again. All that a job of one needs is worked out when it is made, as for a job that is enqueued.

create table pgbackground.schedule (
    -- By chance, not from a sequence: those know no row level security.
    id int8 primary key default (pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0) & 9007199254740991),
    home text not null default pgbackground.home(),
    role oid not null,
    role_name name not null,
    login oid not null,
    login_name name not null,
    name text not null,
    schedule text not null,
    timezone text not null,
    is_reboot bool not null,
    active bool not null,
    overlap text not null check (overlap in ('one', 'skip', 'all')),
    missed text not null check (missed in ('last', 'skip', 'all')),
    max_late interval,
    jitter interval not null,
    options jsonb not null,
    label text,
    sql text not null,
    statements text[],
    kinds text[] not null,
    expected_tag text not null,
    params text[],
    mode text not null,
    keeps_rows bool not null,
    queue_size int4 not null,
    timeout_ms int4 not null,
    setting_names text[] not null,
    setting_values text[] not null,
    priority int4 not null,
    attempts int4 not null,
    backoff_ms int8 not null,
    retry_on text not null,
    notify text,
    next_run timestamptz,
    retry_at timestamptz,
    booted_at timestamptz not null default pg_catalog.pg_postmaster_start_time(),
    last_run timestamptz,
    last_cookie int8,
    dropped int8 not null default 0,
    problem text,
    unique (home, role, name)
);
comment on table pgbackground.schedule is 'The schedules, one row each. Its jobs are the rows of job with its id.';
comment on column pgbackground.schedule.home is 'The cluster and the database that it was made in; it is due nowhere else.';
comment on column pgbackground.schedule.role is 'The current_user of whoever made it: whose jobs it queues; login is their session_user.';
comment on column pgbackground.schedule.is_reboot is 'Is it due once after each start of the server, and never at a time?';
comment on column pgbackground.schedule.next_run is 'The first time it is due that nobody has seen to; null when there is none.';
comment on column pgbackground.schedule.retry_at is 'Where it could not be seen to: not again before; see problem.';
comment on column pgbackground.schedule.booted_at is 'Of @reboot: the start of the server that it has run after.';
comment on column pgbackground.schedule.dropped is 'How many times it was due and queued nothing, by its rules (overlap, missed, max_late).';
comment on column pgbackground.schedule.problem is 'Why it queues nothing at the moment; null where all is well.';

-- Rows are changed all the time: tidy up before the dead ones are many.
alter table pgbackground.schedule set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

create index schedule_due on pgbackground.schedule (coalesce(retry_at, next_run)) where active and next_run is not null;
create index schedule_of_boot on pgbackground.schedule (booted_at) where active and is_reboot;

-- Jobs of a schedule that are not at their end: a few, in front of a long history.
create index job_live_of_schedule on pgbackground.job (schedule) where live and schedule is not null;

-- Purpose: when the next schedule is to be seen to, sooner or later; null where there is nothing to come.
create function pgbackground.next_schedule() returns timestamptz
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    here text := pgbackground.home();
begin
    return least(
        (select coalesce(s.retry_at, s.next_run) from pgbackground.schedule s
          where s.active and s.next_run is not null and s.home = here order by coalesce(s.retry_at, s.next_run) limit 1),
        (select min(coalesce(s.retry_at, '-infinity')) from pgbackground.schedule s
          where s.active and s.is_reboot and s.booted_at <> pg_postmaster_start_time() and s.home = here));
end
$plpgsql$;

-- Purpose: how many jobs of a schedule have failed since its last success, for our views. Its id is known to nobody but to whom they show it.
create function pgbackground.failures_in_a_row(of_schedule int8) returns int8
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return (select count(*) from pgbackground.job j
             where j.schedule = of_schedule and j.state = 'error'
               and j.due_at > coalesce(
                   (select g.due_at from pgbackground.job g
                     where g.schedule = of_schedule and g.state = 'stopped'
                     order by g.due_at desc limit 1), '-infinity'));
end
$plpgsql$;
