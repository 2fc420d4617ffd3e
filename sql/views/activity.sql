create view @extschema@.pg_background_activity as
    select l.pid, l.cookie, l.launched_at, l.user_id, l.queue_size, l.state as pgbg_state, l.sql_preview, l.last_error,
           l.consumed, l.label,
           a.state as backend_state, a.wait_event_type, a.wait_event, a.xact_start, a.query_start, a.backend_start, a.query
      from @extschema@.pg_background_list l
      left join pg_catalog.pg_stat_activity a on a.pid = l.pid and l.state = 'running';
comment on view @extschema@.pg_background_activity is
    'pg_background_list with what pg_stat_activity tells of each worker; nulls there when the job has ended. As pg_background 2.0.';
