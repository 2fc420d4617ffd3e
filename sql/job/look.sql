-- Purpose: a live job as it must be told at this moment, to somebody who has its row: with its end when its worker is gone without a
-- record, with the progress it has reported, with the wishes of others. Ended jobs are told as they stand.
-- Only the owner's row of the very same job is told: who does not have that learns nothing.
create function pgbackground.told(j pgbackground.job) returns pgbackground.job
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    now_ pgbackground.job;
    error record;
    report text;
begin
    if not j.live then
        return j;
    end if;
    if j.state = 'running' and pgbackground.is_dead(j) or j.home <> pgbackground.home() then
        select * into now_ from pgbackground.job b
         where b.cookie = j.cookie and b.sql = j.sql and b.role = j.role and b.launched_at = j.launched_at and b.number = j.number;
        if now_.live is false then
            return now_;
        end if;
        if now_.home = pgbackground.home() and now_.state = 'running' and pgbackground.goes_back(now_) then
            now_.state := 'queued';
            now_.former_pids := (now_.pid || now_.former_pids)[:100];
            now_.pid := 0;
            now_.started_at := null;
            now_.begun := null;
        elsif now_.state = 'running' or now_.home <> pgbackground.home() then
            error := pgbackground.error_of_lost(now_);
            now_.timed_out := coalesce(error.message = 'canceling statement due to worker timeout', false);
            now_.cancel_requested := pgbackground.stop_is_requested(j.cookie);
            now_.state := pgbackground.end_state(error.sqlstate, now_.cancel_requested, now_.timed_out);
            now_.live := false;
            now_.finished_at := clock_timestamp();
            now_.sqlstate := error.sqlstate;
            now_.message := error.message;
            now_.detail := error.detail;
        end if;
        return now_;
    end if;
    select coalesce(bool_or(r.kind <> 'detach'), false), coalesce(bool_or(r.kind = 'expire'), false),
           j.detached or coalesce(bool_or(r.kind = 'detach'), false)
      into j.cancel_requested, j.timed_out, j.detached
      from pgbackground.request r where r.cookie = j.cookie;
    if j.state = 'running'
       and exists (select from pgbackground.job b where b.cookie = j.cookie and b.pid = j.pid and b.number = j.number) then
        select a.application_name into report from pg_stat_get_activity(coalesce(j.executor_pid, j.pid)) a;
        j.progress_pct := pgbackground.progress_pct(report);
        j.progress_msg := pgbackground.progress_msg(report);
    end if;
    return j;
end
$plpgsql$;

-- The jobs of the roles whose rights the reader has: as has_rights(), which no view can ask for a million rows.
create view pgbackground.readable_job as
    select j.cookie, j.live, j as job
      -- A view of one table alone could be written through. The empty row is planned away.
      from pgbackground.job j, (select) nothing
     where case when j.home operator(pg_catalog.=) (select pgbackground.home())
           then pg_catalog.pg_has_role(j.role, 'USAGE')
           else coalesce(pg_catalog.pg_has_role(pg_catalog.to_regrole(pg_catalog.quote_ident(j.role_name)), 'USAGE'),
                         pg_catalog.pg_has_role(10, 'USAGE')) end;
comment on view pgbackground.readable_job is
    'The registry''s rows of the jobs whose owners'' rights the reader has, as they stand. For our other views.';

-- Live and finished jobs apart, because only then a question about some of them finds its index among a million.
-- elapsed_ms: how long an ended job took; overdue: it runs on although its time is over; unrecorded: its worker is gone, and nobody has
-- written that down yet.
create view pgbackground.visible_job with (security_barrier) as
    select (t.job).*,
           (extract(epoch from ((t.job).finished_at operator(pg_catalog.-) (t.job).launched_at)) operator(pg_catalog.*) 1000::numeric)::float8 as elapsed_ms,
           false as overdue, false as unrecorded
      from pgbackground.readable_job t
     where not t.live
    union all
    select told.*, null, pgbackground.is_overdue(told), not told.live
      from pgbackground.readable_job t, lateral pgbackground.told(t.job) told
     -- The same cookie: so that a question about one job tells that one, and not all.
     where t.live and t.cookie operator(pg_catalog.=) told.cookie;
comment on view pgbackground.visible_job is
    'The registry''s rows of the jobs whose owners'' rights the reader has, as they are at this moment.';

create view pgbackground.visible_rows with (security_barrier) as
    select r.cookie, r.chunk, r.rows
      from pgbackground.job_rows r
     where exists (select from pgbackground.readable_job j where j.cookie operator(pg_catalog.=) r.cookie)
    -- A view of one table alone could be written through.
    union all
    select null, null, null where false;

create view pgbackground.visible_message with (security_barrier) as
    select m.cookie, m.seq, m.severity, m.message, m.detail, m.hint
      from pgbackground.job_message m
     where exists (select from pgbackground.readable_job j where j.cookie operator(pg_catalog.=) m.cookie)
    union all
    select null, null, null, null, null, null where false;

-- Purpose: what a queued job waits for, in words: a time, other jobs, or a place. Null for any other.
create function pgbackground.why_waiting(in_cookie int8, state text, run_at timestamptz) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return case
        when state <> 'queued' then null
        when run_at = 'infinity' then
            (select 'job ' || string_agg(d.parent::text, ', ' order by d.parent) from pgbackground.dependency d where d.child = in_cookie)
        when run_at > clock_timestamp() then 'time'
        else 'place' end;
end
$plpgsql$;

-- Purpose: what is to be said of a handle whose job the caller does not see: 42501 where there is such a job, 55000 where the pid is a
-- live job's worker, else 42704.
create function pgbackground.why_unseen(in_pid int4, in_cookie int8) returns text
language sql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $sql$
    select case when exists (select from pgbackground.job j where j.cookie = in_cookie) then '42501'
                when exists (select from pgbackground.job j where j.live and j.pid = in_pid) then '55000'
                else '42704' end
$sql$;
