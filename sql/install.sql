-- pg_background_plpy @version@: table of contents. The build puts each file in its place.

-- Who may use it, what it returns, where it keeps its books
\i roles.sql
\i types.sql
\i tables.sql

-- The Python modules, and how a session loads them
\modules plpy/pg_background
\i loader.sql
\i worker/door.sql

-- The worker's side of a link
\i worker/seal.sql
\i worker/dead.sql
\i worker/register.sql
\i worker/claim.sql
\i worker/columns.sql
\i worker/store_rows.sql
\i worker/record.sql
\i worker/progress.sql
\i worker/await.sql
\i worker/commands.sql
\i worker/queue.sql
\i worker/top_level.sql
\i worker/retire.sql
\i worker/run.sql
\i worker/guard.sql
\i worker/reading.sql

-- The verbs
\i functions/launch.sql
\i functions/submit.sql
\i functions/launch_params.sql
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
\i views/metrics.sql

-- The names of older versions
\i compatibility.sql

-- Who may call what
\i grants.sql
