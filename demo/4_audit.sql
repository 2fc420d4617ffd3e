-- 4. A row for the audit survives, although its caller rolls everything back.

create table audit (at timestamptz default now(), note text);
begin;
update pgbench_accounts set abalance = 0;
select state, command_tag, row_count
  from pg_background_run($$insert into audit (note) values ('somebody tried to empty all accounts')$$);
rollback;
select note from audit;
select sum(abalance) as still_there from pgbench_accounts;
