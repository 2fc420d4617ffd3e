create function @extschema@.pg_background_metrics_text() returns text
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set extra_float_digits = 1
as $sql$
    with family (place, name, type, help) as (
        values
            (1, 'pg_background_jobs', 'gauge', 'Jobs in the registry.'),
            (2, 'pg_background_running', 'gauge', 'Running jobs.'),
            (3, 'pg_background_queued', 'gauge', 'Queued jobs.'),
            (4, 'pg_background_oldest_running_seconds', 'gauge', 'How long the oldest running job has been running.'),
            (5, 'pg_background_oldest_queued_seconds', 'gauge', 'How long the oldest job that could start has been waiting for a place.'),
            (6, 'pg_background_queue_length', 'gauge', 'Queued jobs by what they wait for: place, time, retry or job.'),
            (7, 'pg_background_queue_oldest_seconds', 'gauge', 'How long the oldest job of a role that could start has been waiting for a place.'),
            (8, 'pg_background_jobs_finished_total', 'counter', 'Finished jobs.'),
            (9, 'pg_background_jobs_failed', 'gauge', 'Failed jobs in the registry by the class of their SQLSTATE.'),
            (10, 'pg_background_retries_total', 'counter', 'Attempts after the first one.'),
            (11, 'pg_background_job_duration_seconds', 'summary', 'How long finished jobs took; quantiles of those in the registry.'),
            (12, 'pg_background_clock_kept', 'gauge', 'Does a session keep the clock? 1 or 0.'),
            (13, 'pg_background_clock_needed', 'gauge', 'Is something due later, so that a session has to keep the clock? 1 or 0.'),
            (14, 'pg_background_schedules', 'gauge', 'Active schedules.'),
            (15, 'pg_background_schedule_late_seconds', 'gauge', 'For how long the schedule that is latest has been due.'),
            (16, 'pg_background_schedule_failures_in_a_row', 'gauge', 'Jobs of a schedule that have failed since its last success.'),
            (17, 'pg_background_limit', 'gauge', 'Most running jobs, as pg_background_limits says.'),
            (18, 'pg_background_registry_bytes', 'gauge', 'Size of the registry with its indexes.'),
            (19, 'pg_background_registry_rows', 'gauge', 'Rows of the registry.'),
            (20, 'pg_background_free_connections', 'gauge', 'Connections that are free, without the reserved ones.')
    ), line as (
        select regexp_replace(m.name, '^(pg_background_job_duration_seconds)_(sum|count)$', '\1') as family, m.name,
               (select '{' || string_agg(format('%s="%s"', l.key, replace(replace(replace(l.value, '\', '\\'), '"', '\"'), chr(10), '\n')), ','
                                         order by l.key collate "C") || '}'
                  from jsonb_each_text(m.labels) l) as labels,
               case m.value when 'infinity' then '+Inf' when '-infinity' then '-Inf' else m.value::text end as value
          from @extschema@.pg_background_metrics m
    )
    select string_agg(format(E'# HELP %s %s\n# TYPE %1$s %3$s\n%4$s', f.name, f.help, f.type, l.lines), '' order by f.place)
      from family f
      join (select l.family, string_agg(format(E'%s%s %s\n', l.name, l.labels, l.value), '' order by l.name collate "C", l.labels collate "C") as lines
              from line l group by l.family) l on l.family = f.name
$sql$;
comment on function @extschema@.pg_background_metrics_text() is
    'pg_background_metrics in Prometheus'' text exposition format (version 0.0.4), for an exporter or a script to pass on as it is. Beyond pg_background.';
