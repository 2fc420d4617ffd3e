-- Purpose: how many connections are left: those that superusers keep for themselves are not counted.
create function pgbackground.connections_left() returns int8
language sql volatile parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $sql$
    select current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8
           - coalesce(current_setting('reserved_connections', true)::int8, 0)
           - (select count(*) from pg_stat_activity a where a.backend_type = 'client backend')
$sql$;

-- Whose a job is, for what is counted by role: its role, and in a copy of the database, where oids mean other roles, whoever has the
-- owner's name; where nobody has it, 0 and the name. Inlined into the view.
create function pgbackground.owner_id(is_here bool, role oid, role_name name) returns oid
language sql stable parallel safe
return case when is_here then role else coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(role_name))::oid, 0::oid) end;
create function pgbackground.owner_name(is_here bool, role_name name) returns name
language sql stable parallel safe
return case when is_here or pg_catalog.to_regrole(pg_catalog.quote_ident(role_name)) is not null then ''::name else role_name end;

-- One scan of the registry serves nearly all that is counted. Roles are looked at after grouping, when there are few.
create view @extschema@.pg_background_metrics as
    with here as materialized (
        select pgbackground.home() as home
    ), kept as materialized (
        select pgbackground.owner_id(j.home = (select h.home from here h), j.role, j.role_name) as role_id,
               pgbackground.owner_name(j.home = (select h.home from here h), j.role_name) as role_name,
               j.state, pg_catalog.left(j.sqlstate, 2) as class,
               pg_catalog.count(*) as jobs,
               pg_catalog.sum(extract(epoch from j.finished_at - coalesce(j.started_at, j.launched_at)))::float8 as seconds,
               pg_catalog.sum(j.attempt - 1) as retries
          from pgbackground.job j
         where not j.live
         group by 1, 2, 3, 4
    ), live as materialized (
        -- since: when it began; of queued ones, since when it could begin, null while it waits for something else.
        select pgbackground.owner_id(t.home = (select h.home from here h), t.role, t.role_name) as role_id,
               pgbackground.owner_name(t.home = (select h.home from here h), t.role_name) as role_name,
               j.state, j.attempt - 1 as retries,
               case when j.state <> 'queued' then null when j.run_at = 'infinity' then 'job'
                    when j.run_at > pg_catalog.clock_timestamp() then case when j.attempt > 1 then 'retry' else 'time' end
                    else 'place' end as waits_for,
               case when j.state <> 'queued' then coalesce(j.started_at, j.launched_at)
                    when j.run_at is null or j.run_at <= pg_catalog.clock_timestamp()
                    then greatest(j.launched_at, case when j.wanted_at <= pg_catalog.clock_timestamp() then j.wanted_at end) end as since
          from pgbackground.job t,
               lateral pgbackground.told(t) j
         where t.live
    ), gone as materialized (
        select pgbackground.owner_id(t.home = (select h.home from here h), t.role, t.role_name) as role_id,
               pgbackground.owner_name(t.home = (select h.home from here h), t.role_name) as role_name,
               t.state, t.jobs, t.seconds, t.retries
          from pgbackground.retired t
    ), mine as materialized (
        select r.oid as role_id, ''::name as role_name, r.rolname as role
          from pg_catalog.pg_roles r
         where pg_catalog.pg_has_role(r.oid, 'USAGE') or pg_catalog.pg_has_role('pg_monitor', 'USAGE')
        union all
        select 0, o.role_name, o.role_name
          from (select k.role_name from kept k union select l.role_name from live l union select g.role_name from gone g) o
         where o.role_name <> '' and (pg_catalog.pg_has_role(10, 'USAGE') or pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
    ), finished as (
        select m.role, f.state, pg_catalog.sum(f.jobs) as jobs, pg_catalog.sum(f.seconds) as seconds, pg_catalog.sum(f.retries) as retries
          from (select k.role_id, k.role_name, k.state, k.jobs, k.seconds, k.retries from kept k
                union all
                select g.role_id, g.role_name, g.state, g.jobs, g.seconds, g.retries from gone g) f
          join mine m on m.role_id = f.role_id and m.role_name = f.role_name
         group by m.role, f.state
    ), durations as (
        select d.role_id, d.role_name,
               pg_catalog.percentile_cont(array[0.5, 0.95]) within group (order by d.seconds) as seconds
          from (select pgbackground.owner_id(j.home = (select h.home from here h), j.role, j.role_name) as role_id,
               pgbackground.owner_name(j.home = (select h.home from here h), j.role_name) as role_name,
                       extract(epoch from j.finished_at - coalesce(j.started_at, j.launched_at))::float8 as seconds
                  from pgbackground.job j
                 where not j.live) d
         group by d.role_id, d.role_name
    ), mine_live as (
        select m.role, l.state, l.retries, l.waits_for, l.since
          from live l join mine m on m.role_id = l.role_id and m.role_name = l.role_name
    ), mine_schedules as (
        -- A copy of a schedule is never due.
        select m.role, s.name, coalesce(s.retry_at, s.next_run) as next_run,
               pgbackground.failures_in_a_row(s.id) as failures
          from pgbackground.schedule s
          join mine m on m.role_id = s.role and m.role_name = ''
         where s.active and s.home = (select h.home from here h)
    )
    select 'pg_background_jobs'::text as name,
           pg_catalog.jsonb_build_object('role', a.role, 'state', a.state) as labels,
           pg_catalog.sum(a.jobs)::float8 as value
      from (select m.role, k.state, k.jobs from kept k join mine m on m.role_id = k.role_id and m.role_name = k.role_name
            union all
            select l.role, l.state, 1 from mine_live l) a
     group by a.role, a.state
    union all
    select s.name, '{}', coalesce(pg_catalog.count(l.role), 0)::float8
      from (values ('pg_background_running', 'running'), ('pg_background_queued', 'queued')) s (name, state)
      left join mine_live l on l.state = s.state
     group by s.name
    union all
    select s.name, '{}',
           coalesce(extract(epoch from pg_catalog.max(pg_catalog.clock_timestamp() - l.since)), 0)::float8
      from (values ('pg_background_oldest_running_seconds', 'running'),
                   ('pg_background_oldest_queued_seconds', 'queued')) s (name, state)
      left join mine_live l on l.state = s.state
     group by s.name
    union all
    select 'pg_background_queue_length', pg_catalog.jsonb_build_object('role', l.role, 'waits_for', l.waits_for), pg_catalog.count(*)::float8
      from mine_live l where l.state = 'queued'
     group by l.role, l.waits_for
    union all
    select 'pg_background_queue_oldest_seconds', pg_catalog.jsonb_build_object('role', l.role),
           coalesce(extract(epoch from pg_catalog.max(pg_catalog.clock_timestamp() - l.since)), 0)::float8
      from mine_live l where l.state = 'queued'
     group by l.role
    union all
    select 'pg_background_jobs_finished_total', pg_catalog.jsonb_build_object('role', f.role, 'state', f.state), f.jobs::float8
      from finished f
    union all
    select 'pg_background_jobs_failed', pg_catalog.jsonb_build_object('role', m.role, 'class', k.class), pg_catalog.sum(k.jobs)::float8
      from mine m join kept k on m.role_id = k.role_id and m.role_name = k.role_name
     where k.state = 'error'
     group by m.role, k.class
    union all
    select 'pg_background_retries_total', pg_catalog.jsonb_build_object('role', r.role), pg_catalog.sum(r.retries)::float8
      from (select f.role, f.retries from finished f union all select l.role, l.retries from mine_live l) r
     group by r.role
    union all
    select 'pg_background_job_duration_seconds_sum', pg_catalog.jsonb_build_object('role', f.role), pg_catalog.sum(f.seconds)::float8
      from finished f
     group by f.role
    union all
    select 'pg_background_job_duration_seconds_count', pg_catalog.jsonb_build_object('role', f.role), pg_catalog.sum(f.jobs)::float8
      from finished f
     group by f.role
    union all
    select 'pg_background_job_duration_seconds',
           pg_catalog.jsonb_build_object('role', m.role, 'quantile', q.quantile), q.seconds
      from mine m
      join durations d on m.role_id = d.role_id and m.role_name = d.role_name,
           lateral (values ('0.5', d.seconds[1]), ('0.95', d.seconds[2])) q (quantile, seconds)
    union all
    select g.name, '{}', case g.name when 'pg_background_clock_kept' then c.kept else c.needed end::int4
      from (values ('pg_background_clock_kept'), ('pg_background_clock_needed')) g (name)
     cross join (select k.kept, k.needed from pgbackground.clock_seen() k offset 0) c
    union all
    select 'pg_background_schedules', pg_catalog.jsonb_build_object('role', s.role), pg_catalog.count(*)::float8
      from mine_schedules s
     group by s.role
    union all
    select 'pg_background_schedule_late_seconds', pg_catalog.jsonb_build_object('role', s.role),
           greatest(coalesce(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(s.next_run)), 0), 0)::float8
      from mine_schedules s
     group by s.role
    union all
    select 'pg_background_schedule_failures_in_a_row', pg_catalog.jsonb_build_object('role', s.role, 'schedule', s.name), s.failures::float8
      from mine_schedules s
    union all
    select 'pg_background_limit',
           pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('scope', l.scope, 'name', l.name)), l.max_workers
      from @extschema@.pg_background_limits l
     where l.max_workers is not null
       and (l.name is null or l.scope = 'database' or l.name in (select m.role from mine m))
    union all
    select 'pg_background_limit', pg_catalog.jsonb_build_object('scope', 'database'),
           greatest(pg_catalog.current_setting('max_connections')::int4 / 2, 1)
     where not exists (select from @extschema@.pg_background_limits l where l.scope = 'database' and l.max_workers is not null)
    union all
    select 'pg_background_registry_bytes', pg_catalog.jsonb_build_object('table', t.name),
           pg_catalog.pg_total_relation_size(t.id)::float8
      from (values ('job', 'pgbackground.job'::regclass), ('job_rows', 'pgbackground.job_rows'::regclass),
                   ('job_message', 'pgbackground.job_message'::regclass)) t (name, id)
    union all
    select 'pg_background_registry_rows', '{"table": "job"}',
           (select coalesce(pg_catalog.sum(k.jobs), 0) from kept k)::float8 + (select pg_catalog.count(*) from live)
     where pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    union all
    select 'pg_background_free_connections', '{}', pgbackground.connections_left();
comment on view @extschema@.pg_background_metrics is
    'Counters and gauges as Prometheus wants them: (name, labels, value). Jobs of the roles whose rights you have; of all roles, and the number of rows in the registry, for superusers and members of pg_monitor. One scan of the finished jobs that are kept. Starts the clock where it is missing. Beyond pg_background.';
