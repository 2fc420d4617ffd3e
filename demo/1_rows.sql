-- 1. Launch returns a handle at once; the rows come when they are asked for. Two queries run side by side.

select * from pg_background_launch('select count(*), avg(abalance) from pgbench_accounts') \gset sum_
select * from pg_background_launch('select bid, count(*) from pgbench_accounts group by bid order by bid') \gset branch_
select * from pg_background_result(:sum_pid, :sum_cookie) as (accounts bigint, average numeric);
select * from pg_background_result(:branch_pid, :branch_cookie) as (branch int, accounts int) limit 3;
