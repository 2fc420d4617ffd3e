\i setup.sql
select plan(6);
create role tap_checked login;
grant pgbackground_role to tap_checked;

select has_function('background', 'pg_background_check', array[]::text[], 'check takes nothing');
select isnt_empty($$select from pg_background_check() where item = 'plpython3u' and ok$$, 'it looks for PL/Python');
select isnt_empty($$select from pg_background_check() where item = 'dblink' and ok$$, 'and for dblink');
select is_empty('select from pg_background_check() where not ok and cure is null', 'whatever is amiss has a cure');
select is_empty('select from pg_background_check() where ok and cure is not null', 'and nothing else has');
set role tap_checked;
select isnt_empty('select from background.pg_background_check()', 'users may call it');
reset role;

revoke pgbackground_role from tap_checked;
drop role tap_checked;
select * from finish();
