-- Work that waits: jobs that are queued in their launcher's own transaction, for a time, behind others, or to be tried again.
-- run_at: null where the job may start as soon as there is room, infinity while it waits for parents.

create table pgbackground.dependency (
    child int8 not null,
    parent int8 not null,
    primary key (child, parent)
);
create index dependency_of_parent on pgbackground.dependency (parent);
comment on table pgbackground.dependency is 'Which live job a queued one waits for. A row goes when its parent has ended as it should.';

-- Purpose: queue a job in this transaction, for its launcher, whom the caller has looked at. Called through the door only.
-- Parameters: the job's fields; wanted_at, not before; parents, cookies of live jobs.
-- Returns: the cookie, of this job or of the unfinished one with the same role and key; whether it is a new one.
create function pgbackground.enqueue(
    in_cookie int8, in_login text, in_role text, in_launcher int4, in_label text, in_sql text, in_statements text[], in_kinds text[],
    in_tag text, in_params text[], in_queue_size int4, in_mode text, in_keeps_rows bool, in_timeout_ms int4, in_names text[], in_values text[],
    in_wanted_at timestamptz, in_priority int4, in_attempts int4, in_backoff_ms int8, in_retry_on text, in_parents int8[],
    in_after_state text, in_key text, in_notify text, in_schedule int8, in_due_at timestamptz,
    out cookie int8, out is_new bool)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    role_id oid := (select r.oid from pg_roles r where r.rolname = in_role);
    at_most int4 := (select r.timeout_ms from pgbackground.rules(role_id) r);
begin
    loop
        insert into pgbackground.job as j (
            cookie, state, role, role_name, login, login_name, label, sql, statements, kinds, expected_tag, params, mode, keeps_rows,
            queue_size, launcher_pid, session_limit, timeout_ms, setting_names, setting_values, transaction,
            run_at, wanted_at, priority, attempts, backoff_ms, retry_on, after_state, key, notify, schedule, due_at, number)
        select in_cookie, 'queued', role_id, in_role, l.oid, in_login, in_label, in_sql, in_statements, in_kinds, in_tag, in_params, in_mode,
               in_keeps_rows, in_queue_size, in_launcher, 2147483647, coalesce(least(nullif(in_timeout_ms, 0), at_most), 0),
               in_names, in_values, pg_current_xact_id(),
               case when cardinality(in_parents) > 0 then 'infinity' else in_wanted_at end, in_wanted_at,
               in_priority, in_attempts, in_backoff_ms, in_retry_on, in_after_state, in_key, in_notify, in_schedule, in_due_at,
               pgbackground.next_number(role_id)
          from pg_roles l where l.rolname = in_login
        on conflict do nothing
        returning j.cookie into cookie;
        is_new := found;
        exit when is_new;
        select j.cookie into cookie from pgbackground.job j where j.role = role_id and j.key = in_key and j.live;
        exit when found or in_key is null;
        -- It has ended between the two looks.
    end loop;
    if is_new and cardinality(in_parents) > 0 then
        insert into pgbackground.dependency (child, parent) select in_cookie, p.parent from unnest(in_parents) p (parent) group by p.parent;
        perform pgbackground.release(in_cookie);
    end if;
end
$plpgsql$;

-- Purpose: what the end of its parents means for a job that waits for them: it may start, or ends as canceled.
-- Two parents that end at the same moment do not see each other's end: so this is asked again after each has committed.
-- Parameters: in_turn, where the caller sees to the children of the child. Returns: has it ended; null, somebody else has its row.
create function pgbackground.release(in_child int8, in_turn bool default false) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    child pgbackground.job;
    failed record;
begin
    select * into child from pgbackground.job j where j.cookie = in_child and j.state = 'queued' for no key update skip locked;
    if not found then
        if not exists (select from pgbackground.job j where j.cookie = in_child and j.live) then
            delete from pgbackground.dependency d where d.child = in_child;
            return false;
        end if;
        return null;
    end if;
    -- One look at all of them: what is not waited for any longer is what is known to have ended, well or badly.
    with over as (
        delete from pgbackground.dependency d
         where d.child = in_child and not exists (select from pgbackground.job j where j.cookie = d.parent and j.live)
        returning d.parent
    )
    select j.cookie, j.label, j.state, j.sqlstate, j.message into failed
      from over join pgbackground.job j on j.cookie = over.parent
     where child.after_state = 'stopped' and j.state in ('error', 'canceled') limit 1;
    if found then
        delete from pgbackground.dependency d where d.child = in_child;
        insert into pgbackground.request (cookie, kind) values (in_child, 'cancel');
        perform pgbackground.end_without_worker(
            in_child, '57014', 'a job that this one waited for did not succeed',
            format('Job %s%s ended as %s: %s %s.', failed.cookie, ' (' || failed.label || ')', failed.state, failed.sqlstate, failed.message),
            in_turn => in_turn);
        return true;
    end if;
    if not exists (select from pgbackground.dependency d where d.child = in_child) then
        update pgbackground.job j set run_at = j.wanted_at where j.cookie = in_child;
    end if;
    return false;
end
$plpgsql$;

-- Purpose: release the jobs that wait for one that has ended, and those that wait for the ones that end with it, one after the other: a chain
-- may be longer than the stack is deep. Returns: how many were passed over, because somebody else has their rows.
create function pgbackground.release_children(in_parent int8) returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    parents int8[] := array[in_parent];
    ended int8[];
    each int8;
    has_ended bool;
    passed_over int4 := 0;
begin
    while cardinality(parents) > 0 loop
        ended := '{}';
        for each in select distinct d.child from pgbackground.dependency d where d.parent = any (parents) loop
            has_ended := pgbackground.release(each, true);
            if has_ended then
                ended := ended || each;
            elsif has_ended is null then
                passed_over := passed_over + 1;
            end if;
        end loop;
        parents := ended;
    end loop;
    return passed_over;
end
$plpgsql$;

-- Purpose: the same, after the parent's end was committed. Who has a child's row at this moment is at work on its other parent's end, and may not
-- see this one's: a few more looks see to that, and the clock to the rest.
create function pgbackground.release_after(in_parent int8) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    for attempt in 1 .. 10 loop
        exit when pgbackground.release_children(in_parent) = 0;
        perform pg_sleep(0.001);
    end loop;
end
$plpgsql$;

-- Purpose: release whatever waits for jobs that have ended: what the end itself could not see. Of one login, or of all.
create function pgbackground.release_all(of_login oid default null) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    each int8;
begin
    for each in
        select distinct d.child from pgbackground.dependency d
         where not exists (select from pgbackground.job j where j.cookie = d.parent and j.live)
           and (of_login is null or exists (select from pgbackground.job j where j.cookie = d.child and j.login = of_login))
    loop
        perform pgbackground.release(each);
    end loop;
end
$plpgsql$;

-- Purpose: may a failed attempt be made again? Never after a cancel, never where the effects are unknown (08007).
create function pgbackground.may_retry(j pgbackground.job, in_sqlstate text, canceled bool) returns bool
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $sql$
    select in_sqlstate is not null and j.attempt < j.attempts and not canceled and in_sqlstate <> '08007'
       and (j.retry_on = 'any'
            or substr(in_sqlstate, 1, 2) in ('08', '40', '53') or in_sqlstate in ('55P03', '57P01', '57P02', '57P03'))
$sql$;

-- Purpose: put a job back into the queue for another attempt, later and later: the pause doubles, is 10 % longer or shorter by chance, and an
-- hour at most. The error of the attempt is kept among the job's messages. Tables: job (update), job_message (insert).
create function pgbackground.put_back(j pgbackground.job, in_sqlstate text, in_message text, in_detail text, in_hint text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    pause_ms float8 := least(j.backoff_ms * 2 ^ least(j.attempt - 1, 40), 3600000) * (0.9 + 0.2 * random());
begin
    insert into pgbackground.job_message (cookie, seq, severity, message, detail, hint)
    select j.cookie, coalesce(max(m.seq), 0) + 1, 'ERROR', in_message,
           concat_ws(chr(10), format('Attempt %s of %s, SQLSTATE %s.', j.attempt, j.attempts, in_sqlstate), nullif(in_detail, '')),
           nullif(in_hint, '')
      from pgbackground.job_message m where m.cookie = j.cookie;
    update pgbackground.job b
       set state = 'queued', attempt = b.attempt + 1,
           run_at = clock_timestamp() + pause_ms * interval '1 millisecond', wanted_at = clock_timestamp() + pause_ms * interval '1 millisecond',
           pid = 0, executor_pid = null, lock_key = null, begun = null, started_at = null,
           former_pids = case when b.pid = 0 then b.former_pids else (b.pid || b.former_pids)[:100] end
     where b.cookie = j.cookie;
end
$plpgsql$;

-- Purpose: jobs whose time has come wait for nothing but a place from here on, in the order of their priority; and those end whose cancel came while
-- somebody else had the row. Nobody's open transaction is waited for. Returns: how many have become ready.
create function pgbackground.make_ready() returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    j pgbackground.job;
    ready int4;
begin
    for j in
        select q.* from pgbackground.request r join pgbackground.job q on q.cookie = r.cookie
         where r.kind = 'cancel' and q.state = 'queued' for no key update of q skip locked
    loop
        continue when exists (select from pgbackground.job b where b.cookie = j.cookie and b.state <> 'queued');
        perform pgbackground.end_without_worker(j.cookie, '57014', 'canceling statement due to user request');
    end loop;
    update pgbackground.job b set run_at = null
      from (select q.cookie from pgbackground.job q
             where q.state = 'queued' and q.run_at <= clock_timestamp() and q.home = pgbackground.home()
             order by q.run_at limit 1000 for no key update skip locked) due
     where b.cookie = due.cookie;
    get diagnostics ready = row_count;
    return ready;
end
$plpgsql$;

-- Who starts more than one job at a time: one session of a login, and not all the time.
create table pgbackground.starter (
    login oid primary key,
    pid int4 not null,
    since timestamptz not null
);
comment on table pgbackground.starter is 'Which worker of a login was the last to leave its own work to start others beside it, and when.';

-- Purpose: shall this session start what waits, beside those who work on the queue? One at a time is enough.
create function pgbackground.becomes_starter() returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $plpgsql$
declare
    me oid := (select i.login from pgbackground.top_level_identity() i);
begin
    perform pgbackground.only_in_a_call();
    insert into pgbackground.starter (login, pid, since) values (me, 0, '-infinity') on conflict do nothing;
    perform from pgbackground.starter s
      where s.login = me and s.since < clock_timestamp() - interval '100 milliseconds' for update skip locked;
    if not found then
        return false;
    end if;
    perform set_config('synchronous_commit', 'off', true);
    update pgbackground.starter s set pid = pg_backend_pid(), since = clock_timestamp() where s.login = me;
    return true;
end
$plpgsql$;

-- Purpose: is there room for one more job beside one that starts now?
create function pgbackground.another_could_start(beside pgbackground.job) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    other pgbackground.job;
    rule record;
    running record;
begin
    select * into other from pgbackground.job j
     where j.state = 'queued' and j.run_at is null and j.role = beside.role and j.cookie <> beside.cookie
     order by j.priority desc, j.launched_at limit 1;
    if not found then
        return false;
    end if;
    rule := pgbackground.rules(other.role);
    select count(*) as of_database, count(*) filter (where j.role = other.role) as of_role into running
      from pgbackground.job j where j.live and j.state = 'running';
    return running.of_database + 1 < rule.of_database and coalesce(running.of_role + 1 < rule.of_role, true);
end
$plpgsql$;
