-- Live and finished jobs apart, because only then a question about some of them finds its index among a million.
-- A running job whose worker is gone is shown with the verdict that whoever looks next would write down.
create view @extschema@.pg_background_jobs with (security_barrier) as
    select j.pid, j.cookie, pg_catalog.pg_get_userbyid(j.role) as role, j.label,
           j.state, j.sql, j.mode, j.launcher_pid, j.executor_pid,
           j.launched_at, coalesce(j.started_at, j.launched_at) as started_at, j.finished_at,
           j.row_count, j.command_tag, j.sqlstate, j.message,
           j.timed_out, j.cancel_requested, j.detached, j.progress_pct, j.progress_msg
      from (select t.* from @extschema@.job t
             where t.state in ('stopped', 'error', 'canceled')
            union all
            select told.* from @extschema@.job t, lateral @extschema@._as_told(t) told
             where t.state in ('queued', 'running')) j
     where pg_catalog.pg_has_role(j.role, 'USAGE');
comment on view @extschema@.pg_background_jobs is
    'Every job of the roles whose rights you have, finished ones included, as it is at this moment. Beyond pg_background.';
