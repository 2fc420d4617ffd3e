-- 5. A runaway query: not ended after half a second, so it is canceled.

select * from pg_background_launch('select count(*) from pgbench_accounts a, pgbench_accounts b', label => 'runaway') \gset
select pg_background_wait(:pid, :cookie, timeout_ms => 500) as has_ended;
select pg_background_cancel(:pid, :cookie, grace_ms => 1000);
select state, sqlstate, error_message from pg_background_outcome(:pid, :cookie);
