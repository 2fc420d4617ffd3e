-- Running and queued jobs on a terminal of 80 columns. tools/top runs it again and again; by hand, in psql:
--     \set schema background
--     \i tools/top.sql
-- Each job is a line (process, state, age, progress, label, SQL); a second one says what it waits for, and for whom.

\pset tuples_only on
\pset format unaligned
\pset pager off

with live as (
    select j.pid, coalesce(j.executor_pid, j.pid) as busy_pid, j.state, j.label, j.mode, j.progress_pct, j.progress_msg,
           j.cancel_requested,
           clock_timestamp() - case when j.state = 'running' then j.started_at else j.launched_at end as age,
           regexp_replace(j.sql, '\s+', ' ', 'g') as sql,
           row_number() over (partition by j.state order by j.launched_at) as place
      from :"schema".pg_background_jobs j
     where j.state in ('queued', 'running')
), seen as (
    select l.*, a.wait_event_type, a.wait_event, a.state as backend_state,
           case when l.state = 'running' then pg_blocking_pids(l.busy_pid) end as blockers
      from live l
      left join pg_stat_activity a on a.pid = l.busy_pid and l.state = 'running'
), reason as (
    select s.*,
           case
               when s.state = 'queued' then format('waits for a free place, number %s in the queue', s.place)
               when s.blockers <> '{}' then (
                   select format('waits for %s of %s',
                                 coalesce((select w.locktype || coalesce(' ' || w.relation::regclass, '')
                                             from pg_locks w where w.pid = s.busy_pid and not w.granted limit 1), 'a lock'),
                                 string_agg(concat_ws(' ', b.pid, nullif(a.application_name, ''), '(' || a.state || ')'), ', '))
                     from unnest(s.blockers) b (pid)
                     left join pg_stat_activity a on a.pid = b.pid)
               when s.cancel_requested then 'was asked to stop'
               when s.wait_event is not null then concat_ws(' ', 'waits:', s.wait_event_type, s.wait_event)
           end as waits
      from seen s
), line as (
    select 0 as rank, 0::int8 as place, 0 as part,
           format('%-41s%36s', left(format('%s %s, %s', current_user, current_database(), to_char(clock_timestamp(), 'HH24:MI:SS')), 41),
                  format('%s running, %s queued', count(*) filter (where l.state = 'running'),
                         count(*) filter (where l.state = 'queued'))) as text
      from live l
    union all
    select 1, 0, 0, ''
    union all
    select 1, 0, 1, '    PID STATE        AGE PROGRESS          LABEL          SQL'
    union all
    select case r.state when 'running' then 2 else 3 end, r.place, 0,
           format('%7s %-7s %8s %-17s %-14s %s',
                  nullif(r.pid, 0), r.state,
                  case when r.age < interval '1 day' then to_char(r.age, 'HH24:MI:SS')
                       else format('%sd %sh', extract(day from r.age), extract(hour from r.age)) end,
                  case when r.progress_pct is not null then
                      format('[%-10s] %3s%%', repeat('#', r.progress_pct / 10), r.progress_pct) end,
                  left(r.label, 14), left(r.sql, 21))
      from reason r
    union all
    select case r.state when 'running' then 2 else 3 end, r.place, 1,
           '        ' || left(concat_ws('; ', nullif(r.progress_msg, ''), r.waits), 72)
      from reason r
     where r.progress_msg <> '' or r.waits is not null
)
select case when l.rank = 0 then :'clear' else '' end || l.text
  from line l
 order by l.rank, l.place, l.part
