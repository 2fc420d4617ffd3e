-- Purpose: what the doctor finds in the catalogs and in the registry; logins and settings are tried in Python.
-- Called through the door only. Returns: one row an item.
create function pgbackground.check_installation() returns table (item text, ok bool, detail text, cure text)
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
    ok := major between 15 and 18 and not pg_is_in_recovery();
    detail := 'PostgreSQL ' || current_setting('server_version');
    cure := case when pg_is_in_recovery() then 'A standby runs no jobs: launch them on the primary.'
                 when not ok then 'pg_background_plpy is tested with PostgreSQL 15 to 18.' end;
    return next;

    item := 'owner';
    -- Schema public belongs to whoever owns the database.
    select o.rolname as name, o.rolsuper as super into r
      from pg_namespace n
      join pg_database d on d.datname = current_database()
      join pg_roles o on o.oid = case n.nspowner when 'pg_database_owner'::regrole then d.datdba else n.nspowner end
     where n.oid = home;
    ok := r.super and not exists (
        select from pgbackground.our_objects() u
          join pg_proc p on u.classid = 'pg_proc'::regclass and p.oid = u.objid
          join pg_roles o on o.oid = p.proowner
         where p.prosecdef and not o.rolsuper);
    detail := format('schema %s belongs to %I', home, r.name);
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

    item := 'rights';
    found_any := false;
    for r in
        select format('members of pg_read_all_data and pg_write_all_data can reach the rows of %s', string_agg(c.oid::regclass::text, ', ')) as detail,
               string_agg(format('alter table %s enable row level security', c.oid::regclass), '; ') as cure
          from pg_class c where c.relkind = 'r' and not c.relrowsecurity
           and (c.relnamespace = 'pgbackground'::regnamespace or c.relnamespace = home and starts_with(c.relname, 'pg_background_'))
        having count(*) > 0
        union all
        select format('%s has rights on %s', g.name, string_agg(g.object, ', ' order by g.object)),
               string_agg(format('revoke all on %s %s from %s', g.kind, g.object, g.name), '; ' order by g.object)
          from (select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end as name, o.kind, o.object
                  from (select case c.relkind when 'S' then 'sequence' else 'table' end as kind, c.oid::regclass::text as object,
                               c.relowner as owner, c.relacl as acl, '{}'::name[] as known
                          from pg_class c where c.relkind in ('r', 'S')
                           and (c.relnamespace = 'pgbackground'::regnamespace or c.relnamespace = home and starts_with(c.relname, 'pg_background_'))
                        union all
                        select 'routine', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
                               '{pgbackground_role,pg_monitor}'
                          from pg_proc p where p.pronamespace = 'pgbackground'::regnamespace) o,
                       aclexplode(o.acl) a left join pg_roles m on m.oid = a.grantee
                 where a.grantee <> o.owner and (m.rolname = any (o.known)) is not true) g
         group by g.name
    loop
        found_any := true;
        ok := false;
        detail := r.detail;
        cure := r.cure;
        return next;
    end loop;
    if not found_any then
        ok := true;
        detail := 'the tables and the inner functions are the owner''s alone';
        cure := null;
        return next;
    end if;

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
    found_any := false;
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
      from pgbackground.job j where j.live and j.state = 'running' and pgbackground.is_dead(j);
    ok := r.number = 0;
    detail := case when ok then 'every running job has its worker'
                   else format('%s running jobs have lost their workers: PID %s', r.number, r.pids) end;
    cure := case when not ok then 'This call writes down what has become of them, and so does the first who asks for one.' end;
    return next;

    item := 'setting';
    for r in
        select c.name, c.value from @extschema@.pg_background_config c
    loop
        ok := false;
        detail := format('pg_background_config: %s = %s', r.name, r.value);
        if r.name = 'conninfo' then
            ok := r.value !~* '(^|\s)(dbname|user|options|client_encoding|fallback_application_name)\s*=';
            cure := case when not ok then 'A worker''s database, user, options and encoding are fixed: take these words out.' end;
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
                         and not exists (select from pg_roles o where o.rolname = l.name or o.oid = l.named and l.home = pgbackground.home()) then 'there is no role of that name'
                    when l.scope = 'database' and l.name <> current_database()
                         and not exists (select from pg_database d where d.datname = current_database() and d.oid = l.named and l.home = pgbackground.home()) then 'this is another database'
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

-- Purpose: what is to be known of a login that was refused: where its worker goes, with which options, and which lines of pg_hba.conf
-- fit it, in order. As refused.Facts takes it. Called through the door only.
create function pgbackground.login_facts(login name) returns jsonb
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    with recursive member (role) as (
        select r.oid from pg_roles r where r.rolname = login
        union
        select m.roleid from pg_auth_members m join member on m.member = member.role
    ), server as (
        select f.oid, f.srvoptions, o.rolname as owner, o.rolsuper as is_asked
          from pg_foreign_server f join pg_roles o on o.oid = f.srvowner where f.srvname = 'pg_background_loopback'
    ), mapping as (
        select m.umoptions
          from pg_user_mapping m join server s on s.oid = m.umserver and s.is_asked
         where m.umuser in (0, (select r.oid from pg_roles r where r.rolname = login))
         order by m.umuser = 0 limit 1
    ), rules as (
        select row_number() over () as place, h.*, to_jsonb(h) ->> 'file_name' as file from pg_hba_file_rules h where h.error is null
    ), fitting as (
        select r.place, r.type, r.address, r.netmask, r.auth_method as method,
               coalesce(regexp_replace(r.file, '^.*/', ''), 'pg_hba.conf') || ' line ' || r.line_number as name,
               (select substr(o, 5) from unnest(r.options) o where o like 'map=%') as map
          from rules r
         where exists (
                   select from unnest(r.database) d
                    where d in ('all', current_database())
                       or d = 'sameuser' and current_database() = login
                       or d in ('samerole', 'samegroup') and exists (select from member m where pg_get_userbyid(m.role) = current_database())
                       or d like '/%' and current_database() ~ substr(d, 2))
           and exists (
                   select from unnest(r.user_name) u
                    where u in ('all', login)
                       or u like '+%' and exists (select from member m where pg_get_userbyid(m.role) = substr(u, 2))
                       or u like '/%' and login ~ substr(u, 2))
    )
    select jsonb_build_object(
        'login', login,
        'database', current_database(),
        'sockets', current_setting('unix_socket_directories'),
        'port', current_setting('port'),
        'version', current_setting('server_version_num')::int4 / 10000,
        'conninfo', (select c.value from @extschema@.pg_background_config c where c.name = 'conninfo'),
        'server', (select coalesce(jsonb_object_agg(o.option_name, o.option_value) filter (where o.option_name is not null), '{}')
                     from server s left join pg_options_to_table(s.srvoptions) o on true where s.is_asked having count(*) > 0),
        'mapping', (select coalesce(jsonb_object_agg(o.option_name, o.option_value) filter (where o.option_name is not null), '{}')
                      from mapping m left join pg_options_to_table(m.umoptions) o on true having count(*) > 0),
        'stranger', (select s.owner from server s where not s.is_asked),
        'rules', (select coalesce(jsonb_agg(jsonb_build_object('place', f.name, 'type', f.type, 'address', f.address, 'netmask', f.netmask,
                                                               'method', f.method, 'map', f.map) order by f.place), '[]')
                    from fitting f))
$sql$;

-- Purpose: can the rest of the doctor's work be done here at all? Called through the door only. Returns: one row an item that cannot wait.
create function pgbackground.check_foundation() returns table (item text, ok bool, detail text, cure text)
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $sql$
    select 'owner', false, format('its functions belong to %I, who is no superuser', o.rolname),
           format('alter role %I superuser; or, to give them to another role: remove and install it again as a superuser', o.rolname)
      from pg_proc p join pg_roles o on o.oid = p.proowner
     where p.oid = 'pgbackground.check_foundation()'::regprocedure and not o.rolsuper
     union all
    select 'installation', false, 'the rows that the installation wrote are not there: this database was restored without data',
           'Remove it with uninstall.sql and install it again; no job is lost, because none is there.'
     where not exists (select from pgbackground.installation)
$sql$;

-- Purpose: the product's settings that roles and databases carry, and this session's own: where, name, value, and what takes it away.
-- Called through the door only.
create function pgbackground.check_settings() returns table (place text, name text, value text, cure text)
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
create function pgbackground.check_logins(caller name) returns setof name
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
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].check()
$python$;
comment on function @extschema@.pg_background_check() is
    'A doctor: what keeps jobs from running, and the cure. Tries the login of a worker for each role that may launch jobs (a superuser is told of all roles, others of their own), with the exact lines for pg_hba.conf and pg_ident.conf where it fails; versions, dblink, free connections, dead jobs, settings and limits without effect, how many jobs are queued. Starts queued jobs that could start but that nobody has started, and ends jobs whose time-out is over; changes nothing else. Beyond pg_background.';
