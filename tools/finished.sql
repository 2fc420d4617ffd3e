-- Finished jobs by label on a terminal of 80 columns: how many, how many failed, and how long they took.
--     \set schema background
--     \set since '1 day'
--     \i tools/finished.sql
-- It pins this session's search_path, as top.sql does.

set search_path = pg_catalog, pg_temp;

select pg_catalog.left((
           -- Control characters and what turns the direction of writing, as \x1b.
           select pg_catalog.string_agg(
                      case when pg_catalog.ascii(c.letter) < 32 or pg_catalog.ascii(c.letter) between 127 and 159
                             or pg_catalog.ascii(c.letter) between 8203 and 8207 or pg_catalog.ascii(c.letter) between 8232 and 8238
                             or pg_catalog.ascii(c.letter) between 8294 and 8297 or pg_catalog.ascii(c.letter) = 65279
                           then pg_catalog.chr(92) || 'x' || pg_catalog.lpad(pg_catalog.to_hex(pg_catalog.ascii(c.letter)), case when pg_catalog.ascii(c.letter) < 256 then 2 else 4 end, '0')
                           else c.letter end, '' order by c.place)
             from pg_catalog.regexp_split_to_table(coalesce(j.label, '(none)'), '') with ordinality c (letter, place)), 25) as label,
       pg_catalog.count(*) as jobs,
       pg_catalog.count(*) filter (where j.state <> 'stopped') as failed,
       pg_catalog.to_char(pg_catalog.percentile_cont(0.5) within group (order by extract(epoch from j.finished_at - j.started_at)), 'FM999990.000') as p50_s,
       pg_catalog.to_char(pg_catalog.percentile_cont(0.95) within group (order by extract(epoch from j.finished_at - j.started_at)), 'FM999990.000') as p95_s,
       pg_catalog.to_char(pg_catalog.max(j.finished_at), 'MM-DD HH24:MI') as last
  from :"schema".pg_background_jobs j
 where j.finished_at > pg_catalog.clock_timestamp() - :'since'::pg_catalog.interval
 group by j.label
 order by failed desc, jobs desc
 limit 20;
