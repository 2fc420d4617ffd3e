-- Purpose: how many connections are left: those that superusers keep for themselves are not counted.
create function pgbackground.connections_left() returns int8
language sql volatile parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $sql$
    select current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8
           - coalesce(current_setting('reserved_connections', true)::int8, 0)
           - (select count(*) from pg_stat_activity a where a.backend_type = 'client backend')
$sql$;

-- One scan of the registry serves all that is counted. Roles are looked at after grouping, when there are few.
create view @extschema@.pg_background_metrics as
    with kept as materialized (
        select j.role as role_id, j.state,
               pg_catalog.count(*) as jobs,
               pg_catalog.sum(extract(epoch from j.finished_at - coalesce(j.started_at, j.launched_at)))::float8 as seconds
          from pgbackground.job j
         where not j.live
         group by j.role, j.state
    ), live as materialized (
        select t.role as role_id, j.state, coalesce(j.started_at, j.launched_at) as since
          from pgbackground.job t,
               lateral pgbackground.told(t) j
         where t.live
    ), mine as materialized (
        select r.oid as role_id, r.rolname as role
          from pg_catalog.pg_roles r
         where pg_catalog.pg_has_role(r.oid, 'USAGE') or pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    ), finished as (
        select f.role_id, f.state, pg_catalog.sum(f.jobs) as jobs, pg_catalog.sum(f.seconds) as seconds
          from (select k.role_id, k.state, k.jobs, k.seconds from kept k
                union all
                select r.role, r.state, r.jobs, r.seconds from pgbackground.retired r) f
         group by f.role_id, f.state
    ), durations as (
        select j.role as role_id,
               pg_catalog.percentile_cont(array[0.5, 0.95]) within group (
                   order by extract(epoch from j.finished_at - coalesce(j.started_at, j.launched_at))::float8) as seconds
          from pgbackground.job j
         where not j.live
         group by j.role
    )
    select 'pg_background_jobs'::text as name,
           pg_catalog.jsonb_build_object('role', m.role, 'state', a.state) as labels,
           pg_catalog.sum(a.jobs)::float8 as value
      from mine m
      join (select k.role_id, k.state, k.jobs from kept k
            union all
            select l.role_id, l.state, 1 from live l) a on a.role_id = m.role_id
     group by m.role, a.state
    union all
    select s.name, '{}', coalesce(pg_catalog.count(l.role_id), 0)::float8
      from (values ('pg_background_running', 'running'), ('pg_background_queued', 'queued')) s (name, state)
      left join (live l join mine m on m.role_id = l.role_id) on l.state = s.state
     group by s.name
    union all
    select s.name, '{}',
           coalesce(extract(epoch from pg_catalog.max(pg_catalog.clock_timestamp() - l.since)), 0)::float8
      from (values ('pg_background_oldest_running_seconds', 'running'),
                   ('pg_background_oldest_queued_seconds', 'queued')) s (name, state)
      left join (live l join mine m on m.role_id = l.role_id) on l.state = s.state
     group by s.name
    union all
    select 'pg_background_jobs_finished_total',
           pg_catalog.jsonb_build_object('role', m.role, 'state', f.state), f.jobs::float8
      from mine m join finished f on f.role_id = m.role_id
    union all
    select 'pg_background_job_duration_seconds_sum', pg_catalog.jsonb_build_object('role', m.role),
           pg_catalog.sum(f.seconds)::float8
      from mine m join finished f on f.role_id = m.role_id
     group by m.role
    union all
    select 'pg_background_job_duration_seconds_count', pg_catalog.jsonb_build_object('role', m.role),
           pg_catalog.sum(f.jobs)::float8
      from mine m join finished f on f.role_id = m.role_id
     group by m.role
    union all
    select 'pg_background_job_duration_seconds',
           pg_catalog.jsonb_build_object('role', m.role, 'quantile', q.quantile), q.seconds
      from mine m
      join durations d on d.role_id = m.role_id,
           lateral (values ('0.5', d.seconds[1]), ('0.95', d.seconds[2])) q (quantile, seconds)
    union all
    select 'pg_background_limit',
           pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('scope', l.scope, 'name', l.name)), l.max_workers
      from @extschema@.pg_background_limits l
     where l.name is null or l.scope = 'database' or l.name in (select m.role from mine m)
    union all
    select 'pg_background_limit', pg_catalog.jsonb_build_object('scope', 'database'),
           greatest(pg_catalog.current_setting('max_connections')::int4 / 2, 1)
     where not exists (select from @extschema@.pg_background_limits l where l.scope = 'database')
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
    'Counters and gauges as Prometheus wants them: (name, labels, value). Jobs of the roles whose rights you have; of all roles, and the number of rows in the registry, for superusers and members of pg_monitor. One scan of the finished jobs that are kept. Beyond pg_background.';
