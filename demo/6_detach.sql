-- 6. A job detached, its launcher disconnected: it goes on, and any other session of its owner can ask for it.

create table branch_totals (bid int, total bigint);
select * from pg_background_launch($$
    insert into branch_totals select bid, sum(abalance) from pgbench_accounts group by bid;
    select pg_sleep(1)$$, label => 'totals') \gset
select pg_background_detach(:pid, :cookie);
select pg_backend_pid() as session \gset before_
\connect -
select pg_backend_pid() <> :before_session as another_session, state from pg_background_outcome(:pid, :cookie);
select pg_background_wait(:pid, :cookie) as has_ended;
select state, row_count, error_message from pg_background_outcome(:pid, :cookie);
select count(*) as branches, sum(total) from branch_totals;
