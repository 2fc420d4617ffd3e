\i setup.sql
select plan(26);
create schema tap_launch;
create table tap_launch.effect (note text);

select has_function('background', 'pg_background_launch', array['text', 'integer', 'text'], 'launch takes SQL, a queue size and a label');
select function_returns('background', 'pg_background_launch', array['text', 'integer', 'text'], 'pg_background_handle', 'launch returns a handle');

select * from pg_background_launch($$insert into tap_launch.effect values ('first')$$, label => 'one') \gset one_
select ok(:one_pid > 0 and :one_pid <> pg_backend_pid(), 'the handle names the process of a worker');
select ok(:one_cookie > 0, 'the cookie is positive');
select pg_background_wait(:one_pid, :one_cookie) \gset
select results_eq('select note from tap_launch.effect', array['first'], 'the job has had its effect when wait returns');

select * from pg_background_launch('select 1') \gset two_
select isnt(:two_cookie::int8, :one_cookie::int8, 'each job has a cookie of its own');

select ok(h is null, 'a null text gives a null handle') from pg_background_launch(null) h;

select * from pg_background_launch('  -- nothing here') \gset empty_
select pg_background_wait(:empty_pid, :empty_cookie) \gset
select results_eq(
    format('select state, command_tag from pg_background_outcome(%s, %s)', :empty_pid, :empty_cookie),
    $$values ('stopped', '')$$, 'a text without a statement is a job that stops with an empty tag');

select throws_ok('select pg_background_launch($$select 1$$, 63)', '22023', null, 'a queue size of 63 is refused');
select throws_ok('select pg_background_launch($$select 1$$, 268435457)', '22023', null, 'a queue size over 256 MB is refused');
select lives_ok('select pg_background_launch($$select 1$$, 64)', 'a queue size of 64 is taken');
select lives_ok('select pg_background_launch($$select 1$$, -1)', 'a negative queue size means the default');

select * from pg_background_launch('selec 1') \gset wrong_
select pg_background_wait(:wrong_pid, :wrong_cookie) \gset
select is((pg_background_outcome(:wrong_pid, :wrong_cookie)).sqlstate, '42601', 'broken SQL is the job''s error, not the launch''s');

select * from pg_background_launch('insert into tap_launch.effect values (''second''); commit') \gset control_
select pg_background_wait(:control_pid, :control_cookie) \gset
select is((pg_background_outcome(:control_pid, :control_cookie)).sqlstate, '0A000', 'COMMIT as a statement of the job is refused');
select is_empty($$select from tap_launch.effect where note = 'second'$$, 'and what came before it is undone');

select * from pg_background_launch($$create table tap_launch.made (i int); insert into tap_launch.made values (7); select i, 'of two' from tap_launch.made$$) \gset many_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (i int, t text)', :many_pid, :many_cookie),
    $$values (7, 'of two')$$, 'of several statements the last one''s rows are the result');

-- Settings
set tap.tenant = 'tenant 7';
set work_mem = '7MB';
select * from pg_background_launch($$select current_setting('tap.tenant'), current_setting('work_mem')$$) \gset settings_
select results_eq(
    format('select * from pg_background_result(%s, %s) as (tenant text, memory text)', :settings_pid, :settings_cookie),
    $$values ('tenant 7', '7MB')$$, 'the launcher''s settings travel with the job, custom ones too');
reset work_mem;

set pg_background.max_workers = 'many';
select throws_like('select pg_background_launch($$select 1$$)', '%pg_background.max_workers%', 'a bad setting is named at launch');
select throws_ok('select pg_background_launch($$select 1$$)', '22023', null, 'and its SQLSTATE is 22023');

set pg_background.max_workers = 1;
select * from pg_background_launch('select pg_sleep(60)') \gset sleeper_
select throws_ok('select pg_background_launch($$select 1$$)', '53400', null, 'beyond pg_background.max_workers a launch is refused');
select pg_background_cancel(:sleeper_pid, :sleeper_cookie, 5000) \gset
select pg_background_wait(:sleeper_pid, :sleeper_cookie) \gset
select lives_ok('select pg_background_launch($$select 1$$)', 'a job that has ended leaves its place to the next');
reset pg_background.max_workers;

-- The launcher's transaction
begin;
select * from pg_background_launch($$insert into tap_launch.effect values ('autonomous')$$) \gset autonomous_
select is(pg_background_wait(:autonomous_pid, :autonomous_cookie), true, 'a job can be waited for in the transaction that launched it');
rollback;
select isnt_empty($$select from tap_launch.effect where note = 'autonomous'$$, 'the job stands when its launcher rolls back');

begin read only;
select * from pg_background_launch($$insert into tap_launch.effect values ('from read only') returning note$$) \gset reader_
select lives_ok(format('select pg_background_wait(%s, %s)', :reader_pid, :reader_cookie), 'a read-only transaction may launch and wait');
commit;
select is((pg_background_outcome(:reader_pid, :reader_cookie)).state, 'stopped', 'its job is not read-only by that');

select * from pg_background_launch('select 1', label => 'people read this') \gset labelled_
select is((pg_background_outcome(:labelled_pid, :labelled_cookie)).label, 'people read this', 'a label stays with the job');

drop schema tap_launch cascade;
select * from finish();
