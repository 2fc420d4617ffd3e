create view @extschema@.pg_background_jobs with (security_barrier) as
    select j.pid, j.cookie, case when j.home operator(pg_catalog.=) (select pgbackground.home())
                                 then pg_catalog.pg_get_userbyid(j.role) else j.role_name end as role, j.label,
           j.state, j.sql, j.mode, j.launcher_pid, j.executor_pid,
           j.launched_at,
           case when j.state operator(pg_catalog.<>) 'queued' then coalesce(j.started_at, j.launched_at) end as started_at,
           j.finished_at,
           j.row_count, j.command_tag, j.sqlstate, j.message,
           j.timed_out, j.cancel_requested, j.detached, j.progress_pct, j.progress_msg,
           coalesce(case when j.run_at operator(pg_catalog.<>) 'infinity' then j.run_at end, j.wanted_at) as run_at,
           j.priority, j.attempt, j.attempts, j.key, (select s.name from pgbackground.schedule s where s.id operator(pg_catalog.=) j.schedule) as schedule, j.due_at,
           pgbackground.why_waiting(j.cookie, j.state, j.run_at) as waits_for
      from pgbackground.visible_job j;
comment on view @extschema@.pg_background_jobs is
    'Every job of the roles whose rights you have, finished ones included, as it is at this moment. Beyond pg_background.';
