-- Limits: how many jobs may run per session, role and database. Exact, and without a lock that others could be kept waiting for: a role's own
-- row is locked while one of its jobs is counted, a place of the database is one of many rows, and a row that somebody holds is passed over.

create table pgbackground.place (
    n int4 primary key,
    cookie int8
) with (fillfactor = 50);
comment on table pgbackground.place is
    'The places of this database. One is free when the job that had it last does not run: whatever ends a job frees its place.';
insert into pgbackground.place (n) select pg_catalog.generate_series(1, 10000);

create table pgbackground.used_place (
    n int4 primary key
);
comment on table pgbackground.used_place is 'The places that were ever taken: those above the highest need no look.';

create table pgbackground.role_row (
    role oid primary key
);
comment on table pgbackground.role_row is 'Its rows are locked: a role''s jobs are counted one after the other.';

-- Purpose: lock the role's own row until the end of the transaction: only its own jobs wait for that. Raises 55P03.
create function pgbackground.lock_role(in_role oid) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform from pgbackground.role_row r where r.role = in_role for update;
    if not found then
        insert into pgbackground.role_row (role) values (in_role) on conflict do nothing;
        perform from pgbackground.role_row r where r.role = in_role for update;
    end if;
end
$plpgsql$;

-- Purpose: a limit remembers whom its name meant. One that is put back (an upgrade) gets the name that he has now.
create function pgbackground.remember_named() returns trigger
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    name_now name;
begin
    if tg_op = 'INSERT' and new.home = pgbackground.home() then
        name_now := case new.scope when 'database' then (select d.datname from pg_database d where d.oid = new.named)
                    else (select r.rolname from pg_roles r where r.oid = new.named) end;
    end if;
    if name_now is null then
        new.named := case new.scope when 'database' then (select d.oid from pg_database d where d.datname = new.name)
                     else (select r.oid from pg_roles r where r.rolname = new.name) end;
    else
        new.name := name_now;
    end if;
    new.home := pgbackground.home();
    return new;
end
$plpgsql$;
create trigger remember_named before insert or update of scope, name on @extschema@.pg_background_limits
    for each row when (new.name is not null) execute function pgbackground.remember_named();

-- Purpose: the DBA's tightest rules for a role's jobs; nulls where there are none. timeout_ms: what worker_timeout may be at most.
create function pgbackground.rules(in_role oid, out of_session int4, out of_role int4, out of_database int4, out timeout_ms int4)
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not exists (select from @extschema@.pg_background_limits) then
        of_database := greatest(current_setting('max_connections')::int4 / 2, 1);
        return;
    end if;
    select min(l.max_workers) filter (where l.scope = 'session'),
           min(l.max_workers) filter (where l.scope = 'role'),
           coalesce(min(l.max_workers) filter (where l.scope = 'database'), greatest(current_setting('max_connections')::int4 / 2, 1)),
           min(l.worker_timeout) filter (where l.worker_timeout > 0)
      into of_session, of_role, of_database, timeout_ms
      from @extschema@.pg_background_limits l
     where l.name is null
        or case when l.named is not null and l.home = (select pgbackground.home())
                then l.named = case l.scope when 'database' then (select d.oid from pg_database d where d.datname = current_database()) else in_role end
                else l.name = case l.scope when 'database' then current_database() else pg_get_userbyid(in_role) end end;
end
$plpgsql$;

-- Purpose: the limit that leaves no room for one more job of a role and a session, seen without a lock; nulls when there is room.
-- Parameters: session_limit, the launcher's own pg_background.max_workers. Returns also how many jobs run.
create function pgbackground.limit_reached(in_role oid, in_login oid, in_launcher int4, session_limit int4,
                                           out scope text, out max_workers int4, out jobs int8)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $plpgsql$
declare
    rule record;
    running record;
begin
    select * into rule from pgbackground.rules(in_role);
    select count(*) as of_database, count(*) filter (where j.role = in_role) as of_role,
           count(*) filter (where j.launcher_pid = in_launcher and j.login = in_login) as of_session
      into running
      from pgbackground.job j
     where j.live and j.state = 'running';
    jobs := running.of_database;
    select l.scope, l.most into scope, max_workers
      from (values ('session', least(session_limit, rule.of_session), running.of_session),
                   ('role', rule.of_role, running.of_role),
                   ('database', rule.of_database, running.of_database)) l (scope, most, running)
     where l.running >= l.most
     order by l.most
     limit 1;
end
$plpgsql$;

-- Purpose: a free place of the database, locked until the end of the transaction; null when there is none.
-- Any place will do, and one taken by chance is nearly always free: so each is used now and then only, and an old snapshot leaves few dead rows
-- behind in it. When the house is nearly full, they are looked at one by one.
create function pgbackground.free_place(most int4) returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    last int4 := pgbackground.last_place(least(most, 10000));
    n int4;
begin
    for attempt in 1 .. 4 loop
        exit when last <= 0;
        n := 1 + floor(random() * last);
        if pgbackground.lock_place(n) then
            return n;
        end if;
    end loop;
    for n in 1 .. last loop
        if pgbackground.lock_place(n) then
            return n;
        end if;
    end loop;
    return null;
end
$plpgsql$;

-- Purpose: lock a place if it is free. One that somebody else has locked is passed over; whether its last job still runs is looked at under the
-- lock, because whoever had it before has committed then.
create function pgbackground.lock_place(in_n int4) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    last_cookie int8;
begin
    select p.cookie into last_cookie from pgbackground.place p where p.n = in_n for update skip locked;
    if not found or exists (select from pgbackground.job j where j.cookie = last_cookie and j.state = 'running') then
        return false;
    end if;
    if last_cookie is null then
        -- It is taken for the first time. Nobody else inserts this number: its place is locked.
        insert into pgbackground.used_place (n) values (in_n) on conflict do nothing;
    end if;
    return true;
end
$plpgsql$;

-- Purpose: the last place that may be given away. Lower than the limit as long as jobs run on places above it, because the limit was lowered.
create function pgbackground.last_place(most int4) returns int4
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    last int4 := most;
    above int4;
begin
    while last < 10000 and exists (select from pgbackground.used_place u where u.n > last) loop
        select count(*) into above
          from pgbackground.place p join pgbackground.job j on j.cookie = p.cookie and j.state = 'running'
         where p.n > last;
        exit when last + above <= most or last <= 0;
        last := most - above;
    end loop;
    return last;
end
$plpgsql$;

-- Purpose: give the job about to run a place. Null: it has one; else the limit that is reached.
-- Dead workers free their places first. Parameters: the DBA's rules for the role; surely_in_session, the launcher knows that its session has
-- room for its own setting.
create function pgbackground.take_place(
    in_cookie int8, in_role oid, in_login oid, in_launcher int4, session_limit int4, surely_in_session bool, rule record,
    out scope text, out max_workers int4)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    free int4;
begin
    perform pgbackground.lock_role(in_role);
    for attempt in 1 .. 2 loop
        scope := null;
        if not surely_in_session or rule.of_session is not null or rule.of_role is not null then
            select l.scope, l.max_workers into scope, max_workers
              from pgbackground.limit_reached(in_role, in_login, in_launcher, session_limit) l;
        end if;
        if scope is null then
            free := pgbackground.free_place(rule.of_database);
            if free is not null then
                update pgbackground.place p set cookie = in_cookie where p.n = free;
                return;
            end if;
            scope := 'database';
            max_workers := rule.of_database;
        end if;
        exit when attempt = 2 or pgbackground.sweep() = 0;
    end loop;
end
$plpgsql$;
