-- pg_background_plpy @version@: table of contents. The build puts each file in its place.

-- Is the schema safe? Who may use it, what it returns, what the DBA decides
\i schema.sql
\i only_one.sql
\i roles.sql
\i schemas.sql
\i inventory.sql
\i types.sql
\i config.sql

-- The Python modules, and how a session loads them
\modules plpy/pg_background
\i loader.sql
\i door.sql
\i dblink.sql

-- The life of a job
\i job/states.sql
\i job/tables.sql
\i job/progress.sql
\i job/enqueue.sql
\i schedule/tables.sql
\i job/end.sql
\i job/lost.sql
\i limits.sql
\i job/register.sql
\i job/request.sql
\i job/take.sql
\i job/look.sql
\i job/await.sql
\i job/retire.sql

-- The worker
\i worker/settings.sql
\i worker/rows.sql
\i worker/statements.sql
\i worker/top_level.sql
\i worker/run.sql

-- Time
\i schedule/zones.sql
\i schedule/queue.sql
\i schedule/clock.sql
\i schedule/login.sql
\i schedule/cron_jobs.sql

-- Reading rows back
\i reading.sql

-- The verbs
\i functions/launch.sql
\i functions/submit.sql
\i functions/launch_params.sql
\i functions/enqueue.sql
\i functions/schedule.sql
\i functions/unschedule.sql
\i functions/run_now.sql
\i functions/next_runs.sql
\i functions/tick.sql
\i functions/start_clock_at_login.sql
\i functions/import_cron.sql
\i functions/result.sql
\i functions/result_json.sql
\i functions/messages.sql
\i functions/wait.sql
\i functions/await.sql
\i functions/cancel.sql
\i functions/detach.sql
\i functions/list.sql
\i functions/outcome.sql
\i functions/result_info.sql
\i functions/error_info.sql
\i functions/full_sql.sql
\i functions/run.sql
\i functions/execute.sql
\i functions/report_progress.sql
\i functions/get_progress.sql
\i functions/stats.sql
\i functions/run_query.sql
\i functions/drain.sql
\i functions/wait_any.sql
\i functions/cancel_all.sql
\i functions/cancel_by_label.sql
\i functions/detach_all.sql
\i functions/purge.sql
\i functions/grant_privileges.sql
\i functions/revoke_privileges.sql
\i functions/check.sql

-- Views over them
\i views/list.sql
\i views/activity.sql
\i views/jobs.sql
\i views/schedules.sql
\i views/metrics.sql
\i functions/metrics_text.sql

-- The names of older versions
\i compatibility.sql

-- The verbs for a handle as one value
\i functions/of_handle.sql

-- How it is removed
\i removal.sql
\i callable.sql
\i inventory_taken.sql

-- Who may call what
\i grants.sql
