-- 7. Caller and job wait for each other. That is found and raised as an error; it does not hang.

begin;
update pgbench_accounts set abalance = abalance + 100 where aid = 1;
select * from pg_background_launch('update pgbench_accounts set abalance = abalance - 100 where aid = 1') \gset
\set ON_ERROR_STOP off
select pg_background_wait(:pid, :cookie);
rollback;
\set ON_ERROR_STOP on

-- Our transaction is over, the job has the row now.
select pg_background_wait(:pid, :cookie) as has_ended;
select state, command_tag, row_count from pg_background_outcome(:pid, :cookie);
