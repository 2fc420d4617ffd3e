-- From a schedule to its jobs. Whoever gets here holds the schedule's row: so each time it is due becomes one job, however many look at once.

-- Purpose: queue a job of a schedule, as far as `overlap` lets it. Behind one that runs, where at most one may; not beside one that waits.
-- Returns: the new job's cookie, or that of the unfinished one that is in its way; whether it is new. Tables: job (by enqueue).
create function pgbackground.queue_run(s pgbackground.schedule, in_cookie int8, in_due_at timestamptz, in_run_at timestamptz, out cookie int8, out is_new bool)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    running int8[] := '{}';
begin
    is_new := false;
    if s.overlap <> 'all' then
        perform pgbackground.lost(j.cookie) from pgbackground.job j where j.live and j.schedule = s.id and j.state = 'running';
        select j.cookie into cookie from pgbackground.job j
         where j.live and j.schedule = s.id and (j.state = 'queued' or s.overlap = 'skip')
         order by j.launched_at desc limit 1;
        if found then
            return;
        end if;
        running := array(select j.cookie from pgbackground.job j where j.live and j.schedule = s.id);
    end if;
    select e.cookie, e.is_new into cookie, is_new
      from pgbackground.enqueue(
          in_cookie, (select l.rolname::text from pg_roles l where l.oid = s.login), (select r.rolname::text from pg_roles r where r.oid = s.role),
          0, s.label, s.sql, s.statements, s.kinds, s.expected_tag, s.params, s.queue_size, s.mode, s.keeps_rows, s.timeout_ms,
          s.setting_names, s.setting_values, in_run_at, s.priority, s.attempts, s.backoff_ms, s.retry_on, running, 'ended', null,
          s.notify, s.id, in_due_at) e;
end
$plpgsql$;

-- Purpose: the schedules that are due now and that nobody else is at work with, locked for this transaction.
-- Returns: their times in seconds since 1970; due, null for the start of the server; gone, its role or its login does not exist any longer.
create function pgbackground.due_schedules(most int4)
returns table (id int8, schedule text, timezone text, missed text, due int8, now int8, max_late int8, gone bool)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    here text := pgbackground.home();
    moment timestamptz := clock_timestamp();
begin
    return query
        select s.id, s.schedule, s.timezone, s.missed,
               floor(extract(epoch from s.next_run))::int8, floor(extract(epoch from moment))::int8, extract(epoch from s.max_late)::int8,
               not exists (select from pg_roles r where r.oid = s.role) or not exists (select from pg_roles r where r.oid = s.login)
          from pgbackground.schedule s
         where s.active and s.next_run is not null and s.home = here and coalesce(s.retry_at, s.next_run) <= moment
         order by coalesce(s.retry_at, s.next_run) limit most for no key update skip locked;
    return query
        select s.id, s.schedule, s.timezone, s.missed,
               null::int8, floor(extract(epoch from moment))::int8, extract(epoch from s.max_late)::int8,
               not exists (select from pg_roles r where r.oid = s.role) or not exists (select from pg_roles r where r.oid = s.login)
          from pgbackground.schedule s
         where s.active and s.is_reboot and s.home = here and s.booted_at <> pg_postmaster_start_time()
           and coalesce(s.retry_at <= moment, true)
         limit most for no key update skip locked;
end
$plpgsql$;

-- Purpose: queue the jobs of a schedule that is due, and note when it is due next.
-- Parameters: a cookie for each of the times it was due at, in seconds since 1970, null for the start of the server; the first time that is
-- not seen to with this; how many times were dropped before.
-- Returns: how many jobs were queued. Tables: job (by enqueue), schedule (update).
create function pgbackground.queue_runs(in_schedule int8, in_cookies int8[], in_due int8[], in_next int8, in_dropped int8) returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    s pgbackground.schedule;
    run record;
    due_at timestamptz;
    queued int4 := 0;
begin
    select * into s from pgbackground.schedule t where t.id = in_schedule;
    for n in 1 .. cardinality(in_due) loop
        due_at := coalesce(to_timestamp(in_due[n]), pg_postmaster_start_time());
        run := pgbackground.queue_run(s, in_cookies[n], due_at, case when s.jitter > interval '0' then due_at + random() * s.jitter end);
        if run.is_new then
            queued := queued + 1;
            s.last_run := due_at;
            s.last_cookie := run.cookie;
        end if;
    end loop;
    update pgbackground.schedule t
       set next_run = to_timestamp(in_next), retry_at = null, problem = null, booted_at = pg_postmaster_start_time(),
           last_run = s.last_run, last_cookie = s.last_cookie,
           dropped = t.dropped + in_dropped + cardinality(in_due) - queued
     where t.id = in_schedule;
    return queued;
end
$plpgsql$;

-- Purpose: a schedule could not be seen to: not again for a minute, and never where its role is gone. Others are not concerned.
-- Tables: schedule (update).
create function pgbackground.put_off(in_schedule int8, in_problem text, for_ever bool) returns void
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    update pgbackground.schedule s
       set retry_at = clock_timestamp() + interval '1 minute', problem = in_problem, active = not for_ever
     where s.id = in_schedule
$sql$;

-- Purpose: queue a job of a schedule now, beside the times it is due at. Holds the schedule's row until the transaction's end: nobody queues
-- another one before this one can be seen.
-- Returns: as queue_run. Raises 55000 in a copy of the database, 42704 where the role is gone. Tables: job (by enqueue), schedule (update).
create function pgbackground.run_schedule(in_schedule int8, in_cookie int8, out cookie int8, out is_new bool)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    s pgbackground.schedule;
    moment timestamptz;
begin
    select * into s from pgbackground.schedule t where t.id = in_schedule for no key update;
    if s.home <> pgbackground.home() then
        raise exception using errcode = '55000', message = 'pg_background: the schedule was made in another cluster or database',
            hint = 'This is a copy of it. Make it again with pg_background_schedule.';
    elsif not exists (select from pg_roles r where r.oid = s.role) or not exists (select from pg_roles r where r.oid = s.login) then
        raise exception using errcode = '42704', message = 'pg_background: the role of the schedule does not exist any longer';
    end if;
    moment := clock_timestamp();
    select q.cookie, q.is_new into cookie, is_new from pgbackground.queue_run(s, in_cookie, moment, null) q;
    if is_new then
        update pgbackground.schedule t set last_run = moment, last_cookie = run_schedule.cookie where t.id = in_schedule;
    end if;
end
$plpgsql$;

-- Purpose: the schedule of a name that a role may change: its own one, or that of a role whose rights it has.
-- Returns: its id, null where there is none; how many there are.
create function pgbackground.find_schedule(in_name text, caller text, out id int8, out candidates int8)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    here text := pgbackground.home();
    me oid := (select r.oid from pg_roles r where r.rolname = caller);
begin
    select (array_agg(f.id))[1], count(*) into id, candidates
      from (select s.id, rank() over (order by s.home = here desc, s.role = me desc) as place
              from pgbackground.schedule s
             where s.name = in_name and pgbackground.has_rights(me, s.home, s.role, s.role_name)) f
     where f.place = 1;
end
$plpgsql$;
