-- 2. VACUUM and CREATE INDEX CONCURRENTLY in the background, while this session goes on working.

update pgbench_accounts set abalance = abalance + 1 where aid % 5 = 0;
insert into pgbench_history (tid, bid, aid, delta, mtime)
select bid * 10, bid, aid, 1, now() from pgbench_accounts where aid % 2 = 0;

select * from pg_background_launch('vacuum (analyze, verbose) pgbench_accounts', label => 'nightly vacuum') \gset vacuum_
select * from pg_background_launch('create index concurrently on pgbench_history (aid)', label => 'new index') \gset index_
update pgbench_accounts set abalance = abalance + 10 where aid = 7 returning aid, abalance;

-- Neither can run inside a transaction: PostgreSQL gets them at top level, on a connection of their own.
select label, state, mode from pg_background_jobs where label is not null order by launched_at;

-- CREATE INDEX CONCURRENTLY waits for every open snapshot: await, a procedure, holds none while it waits.
call pg_background_await(:vacuum_pid, :vacuum_cookie);
call pg_background_await(:index_pid, :index_cookie);
select label, state, command_tag, date_trunc('milliseconds', finished_at - started_at) as took
  from pg_background_jobs where label is not null order by launched_at;

-- What VACUUM VERBOSE said is kept with the job, and told again with its result.
select * from pg_background_result(:vacuum_pid, :vacuum_cookie) as (command_tag text);
