-- Purpose: what the doctor finds in the catalogs and in the registry; logins and settings are tried in Python.
-- Called through the door only. Returns: one row an item.
create function @extschema@._check_installation() returns table (item text, ok bool, detail text, cure text)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    home regnamespace := '@extschema@';
    major int4 := current_setting('server_version_num')::int4 / 10000;
    r record;
    used int8;
    usable int4;
    spare int4;
    found_any bool := false;
begin
    item := 'server';
    ok := major between 14 and 18 and not pg_is_in_recovery();
    detail := 'PostgreSQL ' || current_setting('server_version');
    cure := case when pg_is_in_recovery() then 'A standby runs no jobs: launch them on the primary.'
                 when not ok then 'pg_background_plpy is tested with PostgreSQL 14 to 18.' end;
    return next;

    item := 'owner';
    select n.nspowner::regrole::text as name, o.rolsuper as super into r
      from pg_namespace n join pg_roles o on o.oid = n.nspowner where n.oid = home;
    ok := r.super and not exists (
        select from pg_proc p where p.pronamespace = home
           and p.prosecdef and p.proowner <> (select n.nspowner from pg_namespace n where n.oid = home));
    detail := format('schema %s belongs to %s', home, r.name);
    cure := case when not ok then 'The schema and everything in it must belong to one superuser: install again as a superuser.' end;
    return next;

    item := 'schema';
    select string_agg(distinct coalesce(g.rolname, 'PUBLIC'), ', ') as names into r
      from pg_namespace n, aclexplode(n.nspacl) a left join pg_roles g on g.oid = a.grantee
     where n.oid = home and a.privilege_type = 'CREATE' and a.grantee <> n.nspowner;
    ok := r.names is null;
    detail := coalesce('others may create objects in it: ' || r.names, 'nobody else may create objects in it');
    cure := case when not ok then format('revoke create on schema %s from %s', home, r.names) end;
    return next;

    item := 'plpython3u';
    select e.extversion as version into r from pg_extension e where e.extname = 'plpython3u';
    ok := r.version is not null;
    detail := 'version ' || r.version;
    cure := case when not ok then 'create extension plpython3u' end;
    return next;

    item := 'dblink';
    select e.extversion as version, n.nspname as schema, e.extrelocatable into r
      from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'dblink';
    ok := r.version is not null;
    detail := format('version %s in schema %I', r.version, r.schema);
    cure := case when not ok then 'create extension dblink' end;
    return next;

    item := 'dblink names';
    for r in
        select p.oid::regprocedure::text as signature from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         where p.proname = 'dblink_get_connections' and a.grantee = 0 and a.privilege_type = 'EXECUTE'
    loop
        found_any := true;
        ok := false;
        detail := 'everybody may list the links of his session; all code in it could use them by their names';
        cure := format('revoke execute on function %s from public', r.signature);
        return next;
    end loop;
    if not found_any then
        ok := true;
        detail := 'the names of links are private';
        cure := null;
        return next;
    end if;

    select s.srvname, o.rolname, o.rolsuper into r
      from pg_foreign_server s join pg_roles o on o.oid = s.srvowner where s.srvname = 'pg_background_loopback';
    if found then
        item := 'foreign server';
        ok := r.rolsuper;
        detail := format('pg_background_loopback belongs to %I', r.rolname);
        cure := case when not ok then 'It has no effect unless a superuser owns it: alter server pg_background_loopback owner to postgres' end;
        return next;
    end if;

    item := 'connections';
    usable := current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4
        - coalesce(current_setting('reserved_connections', true), '0')::int4;
    select count(*) into used from pg_stat_activity a where a.backend_type = 'client backend';
    begin
        select c.value::int4 into spare from @extschema@.pg_background_config c where c.name = 'free_connections';
    exception when others then
        spare := null;
    end;
    ok := usable - used >= greatest(coalesce(spare, 3), 1);
    detail := format('%s of %s are free', greatest(usable - used, 0), usable);
    cure := case when not ok then 'Each running job is a connection, at top level two: raise max_connections, or set limits in pg_background_limits.' end;
    return next;

    item := 'dead jobs';
    select count(*) as number, string_agg(j.pid::text, ', ' order by j.pid) as pids into r
      from @extschema@.job j where j.state = 'running' and @extschema@._is_dead(j.lock_key, j.pid);
    ok := r.number = 0;
    detail := case when ok then 'every running job has its worker'
                   else format('%s running jobs have lost their workers: PID %s', r.number, r.pids) end;
    cure := case when not ok then format('select %s._sweep() closes their books; so does the next launch that needs a place', home) end;
    return next;

    item := 'setting';
    for r in
        select c.name, c.value from @extschema@.pg_background_config c
    loop
        ok := false;
        detail := format('pg_background_config: %s = %s', r.name, r.value);
        if r.name = 'conninfo' then
            ok := r.value !~* '(^|\s)(dbname|user|options|fallback_application_name)\s*=';
            cure := case when not ok then 'A worker''s database, user and options are fixed: take these words out.' end;
            -- It may hold a password.
            detail := 'pg_background_config: conninfo';
        elsif r.name not in ('retention', 'max_history', 'free_connections') then
            cure := format('No such name, no effect: delete from %s.pg_background_config where name = %L', home, r.name);
        else
            begin
                if r.name = 'retention' then
                    ok := r.value::interval >= interval '0';
                else
                    ok := r.value::int8 >= 0;
                end if;
            exception when others then
                ok := false;
            end;
            cure := case when not ok then case r.name when 'retention' then 'An interval such as 7 days.' else 'A whole number, 0 or more.' end end;
        end if;
        return next;
    end loop;

    for r in
        select l.scope, l.name, l.max_workers,
               case when l.scope in ('role', 'session') and l.name is not null
                         and not exists (select from pg_roles o where o.rolname = l.name) then 'there is no role of that name'
                    when l.scope = 'database' and l.name <> current_database() then 'this is another database'
                    when l.max_workers >= usable then 'there are not as many connections' end as reason
          from @extschema@.pg_background_limits l
    loop
        item := 'limit';
        ok := r.reason is null;
        detail := format('pg_background_limits: at most %s per %s%s', r.max_workers, r.scope, ' ' || quote_ident(r.name));
        cure := case when not ok then format('No effect: %s.', r.reason) end;
        return next;
    end loop;

    item := 'pg_hba.conf';
    select string_agg(format('line %s: %s', h.line_number, h.error), '; ') as errors into r
      from pg_hba_file_rules h where h.error is not null;
    if r.errors is not null then
        ok := false;
        detail := r.errors;
        cure := 'The server goes on with the lines it had: correct these and select pg_reload_conf().';
        return next;
    end if;
end
$plpgsql$;

-- Purpose: the product's settings that roles and databases carry, and this session's own: where, name, value, and what takes it away.
-- Called through the door only.
create function @extschema@._check_settings() returns table (place text, name text, value text, cure text)
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select case when s.setrole = 0 then '' else 'role ' || quote_ident(pg_get_userbyid(s.setrole)) end
           || case when s.setrole <> 0 and s.setdatabase <> 0 then ' in ' else '' end
           || case when s.setdatabase = 0 then '' else 'database ' || quote_ident(d.datname) end,
           split_part(c.word, '=', 1), substr(c.word, strpos(c.word, '=') + 1),
           case when s.setrole = 0 then 'alter database ' || quote_ident(d.datname)
                else 'alter role ' || quote_ident(pg_get_userbyid(s.setrole))
                     || coalesce(' in database ' || quote_ident(d.datname), '') end
           || ' reset ' || split_part(c.word, '=', 1)
      from pg_db_role_setting s left join pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) c (word)
     where c.word like 'pg\_background.%' and (s.setdatabase = 0 or d.datname = current_database())
     union all
    select 'this session', n.name, current_setting(n.name, true), 'reset ' || n.name
      from unnest(array['pg_background.max_workers', 'pg_background.worker_timeout',
                        'pg_background.default_queue_size', 'pg_background.when_full']) n (name)
     where current_setting(n.name, true) <> ''
$sql$;

-- Purpose: the logins whose jobs need a worker's login: of all roles for a superuser, of the caller's own roles for others.
-- Called through the door only.
create function @extschema@._check_logins(caller name) returns setof name
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select r.rolname
      from pg_roles r
     where r.rolcanlogin
       and (r.rolsuper or pg_has_role(r.oid, 'pgbackground_role', 'usage'))
       and ((select c.rolsuper from pg_roles c where c.rolname = caller) or pg_has_role(caller, r.oid, 'usage'))
     order by r.rolname
$sql$;

create function @extschema@.pg_background_check() returns table (item text, ok bool, detail text, cure text)
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select @extschema@._load()')
return GD["pg_background @hash@"].check()
$python$;
comment on function @extschema@.pg_background_check() is
    'A doctor: what keeps jobs from running, and the cure. Tries the login of a worker for each role that may launch jobs (a superuser is told of all roles, others of their own), with the exact lines for pg_hba.conf and pg_ident.conf where it fails; versions, dblink, free connections, dead jobs, settings and limits without effect, how many jobs are queued. Starts queued jobs that could start but that nobody has started, and ends jobs whose time-out is over; changes nothing else. Beyond pg_background.';
