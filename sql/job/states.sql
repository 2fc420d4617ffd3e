-- The life of a job. Each arrow is one function, in the file of its name.
--
--                 register                 register
--      launch  ------------->  queued   launch ------->  running
--      enqueue (own transaction)  |                        |
--                                 |  take                  |  end_job: the only writer of a terminal state, called by
--                                 +----------> running     |    finish    the worker, in the job's own transaction
--                                 ^              |         |    lost      whoever finds the worker gone
--                                 |  put_back    |         |    request   a cancel, of a job that is still queued
--                                 +--------------+         |    refuse    whoever cannot start it
--                  (its worker was lost before it began,   v
--                   or an attempt failed and another   stopped | error | canceled
--                   one is left)                           |
--                                                          |  retire
--                                                          v
--                                                         gone
--
-- A wish (cancel, expire, detach) is a row of its own in `request`: while a job runs, only its worker changes its row.
-- `job.live` says whether a job is before its end.

-- Purpose: what an error makes of a job: the one place of this rule.
-- Parameters: SQLSTATE, null after success; whether somebody asked for a cancel; whether the job's time-out ended it.
create function pgbackground.end_state(in_sqlstate text, cancel_requested bool, timed_out bool) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return case when in_sqlstate is null then 'stopped'
                when in_sqlstate = '57014' and cancel_requested and not timed_out then 'canceled'
                else 'error' end;
end
$plpgsql$;

-- Purpose: this cluster and this database. A job of another one, that a dump, a template or a subscription has brought here, is
-- never run here.
create function pgbackground.home() returns text
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return (select concat(c.system_identifier, '/', (select d.oid from pg_database d where d.datname = current_database()))
              from pg_control_system() c);
end
$plpgsql$;

-- Purpose: has a role the rights of the one that a job or a schedule belongs to? In a copy, where oids mean other roles, the owner's name
-- counts, and where nobody has that name, superusers have them.
create function pgbackground.has_rights(me oid, home text, owner_id oid, owner_name name) returns bool
language plpgsql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return case when home = pgbackground.home() then pg_has_role(me, owner_id, 'USAGE')
                else coalesce(pg_has_role(me, to_regrole(quote_ident(owner_name)), 'USAGE'), pg_has_role(me, 10, 'USAGE')) end;
end
$plpgsql$;
