-- Who starts the clock when nobody has called anything of ours: every login, where the DBA wants it (PostgreSQL 17 and later).

create table pgbackground.clock_start (
    id int4 primary key default 1 check (id = 1),
    tried_at timestamptz
);
insert into pgbackground.clock_start default values;
comment on table pgbackground.clock_start is
    'Always one row: its lock lets one login at a time start the clock; tried_at: when one last tried.';

-- Purpose: start the clock where it is needed and nobody keeps it: a session of the owner, or of this session's login where that may run
-- jobs. Only for functions of the owner. Returns: false where it could not be started.
create function pgbackground.start_clock() returns bool
language plpython3u volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].start_clock()
$python$;

-- Purpose: the event trigger of each login. Nothing that goes wrong here may keep anybody from logging in, and nothing is waited for.
-- Where the clock is kept, its lock is all that is looked at; where it has left because nothing was due, its row, and once a minute what
-- is due. Who holds that lock himself is back where there is no trigger: any call of ours looks for the clock itself.
create function pgbackground.login_begins() returns event_trigger
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10ms'
as $plpgsql$
begin
    -- Not in one expression, which would be planned as a whole.
    if pg_try_advisory_xact_lock_shared(1885823591, 1668050795) then
        if not exists (select from pgbackground.clock c
                        where c.pid is null and c.idle_until > clock_timestamp() and c.idle_boot = pg_postmaster_start_time()) then
            perform pgbackground.start_missing_clock();
        end if;
    end if;
exception when others or query_canceled or assert_failure then
    null;
end
$plpgsql$;

-- Purpose: start the clock for a login, where it is needed and nobody keeps it; where it is not needed, note that, so that no other login
-- has to look. Python is loaded, and a connection opened, once in 10 s at most. Tables: clock, clock_start (update).
create function pgbackground.start_missing_clock() returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    may_write bool := not current_setting('transaction_read_only')::bool;
    last_pid int4 := (select c.pid from pgbackground.clock c);
begin
    -- Our own workers log in, too, and one of them is the clock that is being started.
    if pg_is_in_recovery() or starts_with(current_setting('application_name'), 'pg_background') or pgbackground.clock_is_alive() then
        return;
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if not pgbackground.clock_is_needed() then
        if may_write then
            update pgbackground.clock c set pid = null, idle_until = clock_timestamp() + interval '1 minute', idle_boot = pg_postmaster_start_time()
             where c.pid is not distinct from last_pid;
        end if;
        return;
    end if;
    if may_write then
        perform from pgbackground.clock_start s
         where s.tried_at is null
            or s.tried_at not between greatest(clock_timestamp() - interval '10 s', pg_postmaster_start_time()) and clock_timestamp()
           for update skip locked;
        if not found then
            return;
        end if;
        update pgbackground.clock_start set tried_at = clock_timestamp();
    end if;
    perform pgbackground.start_clock();
end
$plpgsql$;

-- Purpose: the clock as whoever reads the metrics finds it: is it kept, and is it needed? Starts it where it is missing.
create function pgbackground.clock_seen(out kept bool, out needed bool)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    kept := pgbackground.clock_is_alive();
    needed := pgbackground.clock_is_needed();
    if needed and not kept then
        perform pgbackground.start_clock();
    end if;
end
$plpgsql$;

-- Purpose: is that trigger there, and does it fire?
create function pgbackground.starts_at_login() returns bool
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return exists (select from pg_event_trigger t where t.evtfoid = 'pgbackground.login_begins'::regproc and t.evtenabled in ('O', 'A'))
       and coalesce(current_setting('event_triggers', true), 'on') = 'on';
end
$plpgsql$;
