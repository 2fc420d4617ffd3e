\i setup.sql
select plan(9);
create role tap_grantee;
create role tap_nobody login;

select has_function('background', 'pg_background_grant_privileges', array['text', 'boolean'], 'grant_privileges takes a role');
select has_function('background', 'pg_background_revoke_privileges', array['text', 'boolean'], 'so does revoke_privileges');
select is(pg_background_grant_privileges('tap_grantee'), true, 'granting says that it is done');
select is(pg_has_role('tap_grantee', 'pgbackground_role', 'usage'), true, 'the role is a member of pgbackground_role then');
select is(pg_background_revoke_privileges('tap_grantee'), true, 'revoking says that it is done');
select is(pg_has_role('tap_grantee', 'pgbackground_role', 'usage'), false, 'the role is no member any more');
select is(pg_background_grant_privileges('tap_absent'), false, 'of an unknown role it says that it is not');
select is(pg_background_grant_privileges(null), false, 'of a null as well');
grant pgbackground_role to tap_nobody;
set role tap_nobody;
select throws_ok($$select pg_background_grant_privileges('tap_grantee')$$, '42501', null, 'users of the product may not grant it');
reset role;

drop role tap_grantee, tap_nobody;
select * from finish();
