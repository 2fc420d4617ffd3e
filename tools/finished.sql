-- Finished jobs by label on a terminal of 80 columns: how many, how many failed, and how long they took.
--     \set schema background
--     \set since '1 day'
--     \i tools/finished.sql

select left(coalesce(j.label, '(none)'), 25) as label,
       count(*) as jobs,
       count(*) filter (where j.state <> 'stopped') as failed,
       to_char(percentile_cont(0.5) within group (order by extract(epoch from j.finished_at - j.started_at)), 'FM999990.000') as p50_s,
       to_char(percentile_cont(0.95) within group (order by extract(epoch from j.finished_at - j.started_at)), 'FM999990.000') as p95_s,
       to_char(max(j.finished_at), 'MM-DD HH24:MI') as last
  from :"schema".pg_background_jobs j
 where j.finished_at > clock_timestamp() - :'since'::interval
 group by coalesce(j.label, '(none)')
 order by failed desc, jobs desc
 limit 20;
