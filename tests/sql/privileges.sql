\i setup.sql
select plan(14);
create role tap_member login;
create role tap_other login;
create role tap_outsider login;
grant pgbackground_role to tap_member, tap_other;

select is_empty(
    $$select proname from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       where pronamespace = 'background'::regnamespace and a.grantee = 0$$,
    'PUBLIC may call nothing');
select is_empty(
    $$select relname from pg_class c, aclexplode(coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))) a
       where relnamespace = 'background'::regnamespace and c.relkind in ('r', 'v', 'S') and a.grantee = 0$$,
    'PUBLIC may read nothing');
select is_empty(
    $$select proname from pg_proc where pronamespace = 'background'::regnamespace and not starts_with(proname, '_')
         and proname !~ '(privileges|import_cron|at_login)$' and not has_function_privilege('pgbackground_role', oid, 'execute')$$,
    'pgbackground_role may call every verb but what is for the DBA');
select is_empty(
    $$select relname from pg_class c, unnest(array['insert', 'update', 'delete', 'truncate', 'select']) p
       where relnamespace = 'background'::regnamespace and relkind = 'r' and has_table_privilege('pgbackground_role', c.oid, p)$$,
    'pgbackground_role may not touch the tables');
select ok(not rolcanlogin and not rolsuper, 'pgbackground_role is nothing but a bundle of rights') from pg_roles where rolname = 'pgbackground_role';

-- Handles are handed on in a table, as applications do.
create schema tap_privileges;
create table tap_privileges.handle as select * from pg_background_launch('select 1') with no data;
grant all on schema tap_privileges to public;
grant all on tap_privileges.handle to public;

set session authorization tap_member;
insert into tap_privileges.handle select * from pg_background_launch('select current_user, session_user');
select results_eq(
    'select r.* from tap_privileges.handle h, pg_background_result(h.pid, h.cookie) as r (c text, s text)',
    $$values ('tap_member', 'tap_member')$$, 'the job of a plain role runs as that role and nobody else');

set session authorization tap_other;
prepare other as select pg_background_wait(pid, cookie) from tap_privileges.handle;
select throws_ok('other', '42501', null, 'another user may not wait for it');
select throws_ok('select r.* from tap_privileges.handle h, pg_background_result(h.pid, h.cookie) as r (c text, s text)', '42501', null, 'nor read its rows');
select throws_ok('select pg_background_cancel(pid, cookie) from tap_privileges.handle', '42501', null, 'nor cancel it');
select throws_ok('select pg_background_full_sql(pid, cookie) from tap_privileges.handle', '42501', null, 'nor read its SQL');
select results_eq('select (pg_background_outcome(pid, cookie)).state from tap_privileges.handle', array[null::text], 'its outcome is unknown to him');
select is_empty('select from pg_background_jobs', 'and he sees no job of others');

reset session authorization;
select isnt_empty('select from pg_background_jobs j join tap_privileges.handle using (cookie)', 'a superuser sees it');

set session authorization tap_outsider;
select throws_ok($$select background.pg_background_launch('select 1')$$, '42501', null, 'who is no member of pgbackground_role may not launch');
reset session authorization;

drop schema tap_privileges cascade;
drop role tap_member, tap_other, tap_outsider;
select * from finish();
