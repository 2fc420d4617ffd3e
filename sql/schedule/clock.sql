-- The clock: one session of ours, there only while something is due later. It sleeps until then and queues or starts what is due.

create table pgbackground.clock (
    id int4 primary key default 1 check (id = 1),
    pid int4,
    backend_start timestamptz,
    since timestamptz,
    idle_until timestamptz,
    idle_boot timestamptz
);
insert into pgbackground.clock default values;
comment on table pgbackground.clock is 'The session that keeps the clock; see clock_is_alive.';
comment on column pgbackground.clock.pid is 'Null where it has left by itself, because nothing was due any more.';
comment on column pgbackground.clock.idle_until is 'A login has found that it is not needed, and no other one looks again before: see login_begins.';
comment on column pgbackground.clock.idle_boot is 'The start of the server that this holds for: what was written last before a crash may be lost.';

-- Purpose: does that session keep the clock? It does while it is busy with the command that keeps it, and with nothing else.
-- A second clock does no harm, and neither does somebody who makes his own session the clock: it keeps it then. In a copy of the database
-- the row may tell of the original's.
create function pgbackground.clock_is_alive() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pg_stat_clear_snapshot();
    return exists (
        select from pgbackground.clock c, pg_stat_get_activity(c.pid) a
         where a.backend_start = c.backend_start and a.state = 'active' and a.query = 'call pgbackground.keep_clock()'
           and a.datid = (select d.oid from pg_database d where d.datname = current_database()));
end
$plpgsql$;

-- Purpose: is something due later?
create function pgbackground.clock_is_needed() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return not pg_is_in_recovery()
       and (exists (select from pgbackground.job j where j.state = 'queued' and j.run_at is not null and j.home = pgbackground.home())
            or exists (select from pgbackground.dependency d join pgbackground.job j on j.cookie = d.child where j.home = pgbackground.home())
            or pgbackground.next_schedule() is not null);
end
$plpgsql$;

create function pgbackground.clock_is_missing() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return pgbackground.clock_is_needed() and not pgbackground.clock_is_alive();
end
$plpgsql$;

-- Purpose: what the doctor tells of the clock: its process, null where none keeps it, and since when; what is due next; whether it is needed;
-- whether logins start it.
create function pgbackground.check_clock(out pid int4, out since timestamptz, out due timestamptz, out needed bool, out at_login bool)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    needed := pgbackground.clock_is_needed();
    if pgbackground.clock_is_alive() then
        select c.pid, date_trunc('second', c.since) into pid, since from pgbackground.clock c;
    end if;
    due := least(nullif(pgbackground.next_schedule(), '-infinity'),
                 (select min(j.run_at) from pgbackground.job j
                   where j.state = 'queued' and j.run_at < 'infinity' and j.home = pgbackground.home()));
    at_login := pgbackground.starts_at_login();
end
$plpgsql$;

-- Purpose: this session keeps the clock from here on. Called through the door only: who could keep its row locked would stop the clock for all. Returns: false where another one does. Tables: clock (update).
create function pgbackground.take_clock() returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform pgbackground.only_in_a_call();
    perform set_config('synchronous_commit', 'off', true);
    perform from pgbackground.clock c for update skip locked;
    if not found or pgbackground.clock_is_alive() then
        return false;
    end if;
    update pgbackground.clock c
       set pid = pg_backend_pid(), since = clock_timestamp(),
           backend_start = (select a.backend_start from pg_stat_get_activity(pg_backend_pid()) a);
    return true;
end
$plpgsql$;

-- Purpose: this session keeps the clock no longer. Tables: clock (update).
create function pgbackground.leave_clock() returns void
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    update pgbackground.clock c set pid = null where c.pid = pg_backend_pid()
$sql$;

-- Purpose: how long the clock may sleep, in ms: until the next job or schedule is due, a second at most; 0, something is due; null, it may leave: nothing is
-- due any more, the database is about to be dropped (somebody waits for it or has it to himself), or the server is no primary.
create function pgbackground.clock_sleep() returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    here text := pgbackground.home();
    next_schedule timestamptz := pgbackground.next_schedule();
begin
    if pg_is_in_recovery() or next_schedule is null and not pgbackground.clock_is_needed()
       or exists (select from pg_locks l
                    join pg_database d on d.oid = l.objid and d.datname = current_database()
                   where l.locktype = 'object' and l.classid = 'pg_database'::regclass and l.mode = 'AccessExclusiveLock'
                     -- Whoever makes an event trigger for logins holds it as well, in this database.
                     and (select a.datid from pg_stat_get_activity(l.pid) a) is distinct from d.oid) then
        return null;
    end if;
    return (
        select greatest(0, least(1000, ceil(extract(epoch from
                   greatest(least(min(j.run_at), next_schedule), '1970-01-01') - clock_timestamp()) * 1000)))::int4
          from pgbackground.job j
         where j.state = 'queued' and j.run_at is not null and j.run_at < clock_timestamp() + interval '1 second' and j.home = here);
end
$plpgsql$;

-- Purpose: queue and start what is due, in transactions of its own: first of all it commits, so that nobody can call it where the rows that it
-- locks stay locked. Idempotent, whoever ticks, however many at once. Returns: how many jobs of schedules it has queued. Raises 2D000.
create procedure pgbackground.tick(inout queued int4)
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return (GD["pg_background @hash@"].tick_here(),)
$python$;

-- Purpose: the clock's command. It commits again and again and sleeps without a snapshot.
create procedure pgbackground.keep_clock()
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
GD["pg_background @hash@"].keep_clock()
$python$;

-- Purpose: the command of a worker that is told of enqueued work: it waits for the end of the transaction that has queued it, which holds this
-- lock, and then works on what is in the queue. One that starts others has all that it needs for that by then.
create procedure pgbackground.work_after(key1 int4, key2 int4, starts_others bool)
language plpgsql
as $plpgsql$
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
    if starts_others then
        call pgbackground.start_queued();
        commit;
    end if;
    perform pg_catalog.pg_advisory_lock(key1, key2);
    perform pg_catalog.pg_advisory_unlock(key1, key2);
    reset lock_timeout;
    reset statement_timeout;
    commit;
    if starts_others then
        perform pgbackground.becomes_starter();
        commit;
        call pgbackground.start_queued();
        commit;
    end if;
    call pgbackground.run(null, null, null, false);
end
$plpgsql$;
