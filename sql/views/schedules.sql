create view @extschema@.pg_background_schedules with (security_barrier) as
    with here as (select pgbackground.home() as home)
    select s.id, s.name, coalesce(case when s.home operator(pg_catalog.=) (select h.home from here h)
                                       then (select r.rolname from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) s.role) end,
                                  s.role_name) as role,
           s.schedule, s.timezone, s.sql,
           s.active and s.home operator(pg_catalog.=) (select h.home from here h) as active,
           case when s.active and s.home operator(pg_catalog.=) (select h.home from here h) then s.next_run end as next_run,
           s.last_run,
           (select case when j.live then (pgbackground.told(j)).state else j.state end from pgbackground.job j
             where j.cookie operator(pg_catalog.=) s.last_cookie) as last_state,
           s.last_cookie,
           pgbackground.failures_in_a_row(s.id) as failures_in_a_row,
           s.missed, s.overlap, s.options, s.max_late, s.jitter, s.dropped,
           case when s.home operator(pg_catalog.<>) (select h.home from here h)
                then 'made in another cluster or database: this is a copy, which is never due' else s.problem end as problem
      from pgbackground.schedule s
     where case when s.home operator(pg_catalog.=) (select h.home from here h)
           then pg_catalog.pg_has_role(s.role, 'USAGE')
           else coalesce(pg_catalog.pg_has_role(pg_catalog.to_regrole(pg_catalog.quote_ident(s.role_name)), 'USAGE'),
                         pg_catalog.pg_has_role(10, 'USAGE')) end;
comment on view @extschema@.pg_background_schedules is
    'The schedules of the roles whose rights you have. next_run: null where it is never due again; last_run, last_state, last_cookie: its newest job; failures_in_a_row: jobs that have failed since the last success; dropped: how many times it was due and queued nothing, by its rules; problem: why it is not due at all. Beyond pg_background.';
