-- Running and queued jobs, and the schedules that are due next, on a terminal of 80 columns. tools/top runs it again and again; by hand, in psql:
--     \set schema background
--     \i tools/top.sql
--     ;
-- Each job is a line (process, state, age, progress, label, SQL); a second one says what it waits for, and for whom. Running jobs come
-- first, then those that wait for a place, for a time, and for other jobs; what does not fit on a screen of :rows lines (24) is counted. It pins this session's search_path, so that only the server's own
-- functions and operators run, and what users wrote is shown without control characters.

\pset tuples_only on
\pset format unaligned
\pset pager off
\if :{?rows} \else \set rows 24 \endif
\if :{?clear} \else \set clear '' \endif
set search_path = pg_catalog, pg_temp;

with live as (
    select j.pid, coalesce(j.executor_pid, j.pid) as busy_pid, j.state, j.label, j.mode, j.progress_pct, j.progress_msg,
           j.cancel_requested, j.waits_for, j.run_at, j.attempt, j.attempts,
           case when j.waits_for like 'job %' then 3 when j.waits_for = 'time' then 2 else 1 end as turn,
           pg_catalog.clock_timestamp() - case when j.state = 'running' then j.started_at else j.launched_at end as age,
           pg_catalog.regexp_replace(pg_catalog.left(j.sql, 200), '[[:space:]]+', ' ', 'g') as sql,
           pg_catalog.row_number() over (
               partition by j.state
               order by case when j.waits_for like 'job %' then 3 when j.waits_for = 'time' then 2 else 1 end,
                        case when j.waits_for = 'time' then j.run_at end, j.launched_at) as place
      from :"schema".pg_background_jobs j
     where j.state in ('queued', 'running')
), seen as (
    select l.*, a.wait_event_type, a.wait_event, a.state as backend_state,
           case when l.state = 'running' then pg_catalog.pg_blocking_pids(l.busy_pid) end as blockers
      from live l
      left join pg_catalog.pg_stat_activity a on a.pid = l.busy_pid and l.state = 'running'
), reason as (
    select s.*,
           case
               when s.turn = 3 then pg_catalog.format('waits for %s', s.waits_for)
               when s.turn = 2 then pg_catalog.format('%s %s, in %s', case when s.attempt > 1 then 'is tried again at' else 'waits for' end,
                                                      pg_catalog.to_char(s.run_at, 'YYYY-MM-DD HH24:MI:SS'),
                                                      (select pg_catalog.format(case when i.left_ < interval '1 day' then '%3$s' else '%1$sd %2$sh' end, extract(day from i.left_),
                                                                                extract(hour from i.left_), pg_catalog.to_char(i.left_, 'HH24:MI:SS'))
                                                         from (select greatest(s.run_at - pg_catalog.clock_timestamp(), interval '0') as left_) i))
               when s.state = 'queued' then pg_catalog.format('waits for a free place, number %s in the queue', s.place)
               when s.blockers <> '{}' then (
                   select pg_catalog.format('waits for %s of %s',
                                 coalesce((select pg_catalog.concat_ws(' ', w.locktype, coalesce(c.relname::pg_catalog.text, w.relation::pg_catalog.text))
                                             from pg_catalog.pg_locks w
                                             left join pg_catalog.pg_class c on c.oid = w.relation
                                            where w.pid = s.busy_pid and not w.granted limit 1), 'a lock'),
                                 pg_catalog.string_agg(
                                     pg_catalog.concat_ws(' ', b.pid, nullif(a.application_name, ''), '(' || a.state || ')'), ', '))
                     from pg_catalog.unnest(s.blockers) b (pid)
                     left join pg_catalog.pg_stat_activity a on a.pid = b.pid)
               when s.cancel_requested then 'was asked to stop'
               when s.wait_event is not null then pg_catalog.concat_ws(' ', 'waits:', s.wait_event_type, s.wait_event)
           end as waits,
           case when s.attempt > 1 then pg_catalog.format('attempt %s of %s', s.attempt, s.attempts) end as attempts_made
      from seen s
), due as (
    select s.name, s.schedule, s.failures_in_a_row, s.problem, s.next_run - pg_catalog.clock_timestamp() as left_,
           pg_catalog.row_number() over (order by s.next_run, s.name) as place
      from :"schema".pg_background_schedules s
     where s.next_run is not null
     order by s.next_run, s.name limit case when :rows < 15 then 1 else 3 end
), line as (
    select 0 as rank, 0::pg_catalog.int8 as place, 0 as part,
           pg_catalog.format('%-41s%36s',
                  pg_catalog.left(pg_catalog.format('%s %s, %s', current_user, pg_catalog.current_database(),
                                                    pg_catalog.to_char(pg_catalog.clock_timestamp(), 'HH24:MI:SS')), 41),
                  pg_catalog.format('%s running, %s queued', pg_catalog.count(*) filter (where l.state = 'running'),
                                    pg_catalog.count(*) filter (where l.state = 'queued'))) as text
      from live l
    union all
    select 0, 0, d.place::pg_catalog.int4,
           pg_catalog.format('%7s %-7s %8s %-32s %s', null, case when d.left_ < interval '0' then 'is due' else 'due in' end,
                  (select case when i.time < interval '1 day' then pg_catalog.to_char(i.time, 'HH24:MI:SS')
                               else pg_catalog.format('%sd %sh', extract(day from i.time), extract(hour from i.time)) end
                     from (select case when d.left_ < interval '0' then -d.left_ else d.left_ end as time) i),
                  pg_catalog.left(d.name, 32),
                  case when d.problem is not null then d.problem
                       when d.failures_in_a_row > 0 then pg_catalog.format('failed %s in a row', d.failures_in_a_row)
                       else d.schedule end)
      from due d
    union all
    select 1, 0, 0, ''
    union all
    select 1, 0, 1, '    PID STATE        AGE PROGRESS          LABEL          SQL'
    union all
    select case r.state when 'running' then 2 else 3 end, r.place, 0,
           pg_catalog.format('%7s %-7s %8s %-17s %-14s %s',
                  nullif(r.pid, 0), r.state,
                  case when r.age < interval '1 day' then pg_catalog.to_char(r.age, 'HH24:MI:SS')
                       else pg_catalog.format('%sd %sh', extract(day from r.age), extract(hour from r.age)) end,
                  case when r.progress_pct is not null then
                      pg_catalog.format('[%-10s] %3s%%', pg_catalog.repeat('#', r.progress_pct / 10), r.progress_pct) end,
                  pg_catalog.left(r.label, 14), pg_catalog.left(r.sql, 21))
      from reason r
    union all
    select case r.state when 'running' then 2 else 3 end, r.place, 1,
           '        ' || pg_catalog.left(pg_catalog.concat_ws('; ', nullif(r.progress_msg, ''), r.waits, r.attempts_made), 72)
      from reason r
     where r.progress_msg <> '' or r.waits is not null or r.attempts_made is not null
), numbered as (
    -- the last line of each job, and of all
    select l.*, pg_catalog.max(l.number) over (partition by l.rank, l.place) as last, pg_catalog.max(l.number) over () as lines
      from (select n.*, pg_catalog.row_number() over (order by n.rank, n.place, n.part) as number from line n) l
), fitting as (
    select n.rank, n.place, n.part, n.text
      from numbered n
     where n.rank < 2 or n.lines < :rows or n.last < :rows - 1
    union all
    select 4, 0, 0, pg_catalog.format('        ... and %s more', pg_catalog.concat_ws(' and ',
               nullif(pg_catalog.count(*) filter (where n.rank = 2), 0) || ' running',
               nullif(pg_catalog.count(*) filter (where n.rank = 3), 0) || ' queued'))
      from numbered n
     where n.rank >= 2 and n.part = 0 and n.lines >= :rows and n.last >= :rows - 1
    having pg_catalog.count(*) > 0
)
select case when f.rank = 0 and f.part = 0 then :'clear' else '' end || coalesce(pg_catalog.left((
           -- Control characters of both sets, and what turns the direction of writing or has no width, as \x1b.
           select pg_catalog.string_agg(
                      case when pg_catalog.ascii(c.letter) < 32 or pg_catalog.ascii(c.letter) between 127 and 159
                             or pg_catalog.ascii(c.letter) between 8203 and 8207 or pg_catalog.ascii(c.letter) between 8232 and 8238
                             or pg_catalog.ascii(c.letter) between 8294 and 8297 or pg_catalog.ascii(c.letter) = 65279
                           then pg_catalog.chr(92) || 'x' || pg_catalog.lpad(pg_catalog.to_hex(pg_catalog.ascii(c.letter)), case when pg_catalog.ascii(c.letter) < 256 then 2 else 4 end, '0')
                           else c.letter end, '' order by c.place)
             from pg_catalog.regexp_split_to_table(f.text, '') with ordinality c (letter, place)
            where c.letter <> ''), 79), '')
  from fitting f
 order by f.rank, f.place, f.part
