-- 3. A backfill in batches: a procedure that commits after each, and says how far it is.

alter table pgbench_accounts add column interest numeric;
create procedure backfill() language plpgsql as $$
begin
    for batch in 1 .. 10 loop
        update pgbench_accounts set interest = abalance * 0.01 where bid % 10 + 1 = batch;
        perform pg_background_report_progress(batch * 10, format('batch %s of 10', batch));
        commit;
    end loop;
end $$;
select * from pg_background_launch('call backfill()', label => 'backfill') \gset
select pg_background_wait(:pid, :cookie, timeout_ms => 1500) as has_ended;
select state, progress_pct, progress_msg from pg_background_jobs where cookie = :cookie;
call pg_background_await(:pid, :cookie);
select state, progress_pct, progress_msg from pg_background_jobs where cookie = :cookie;
select count(*) as rows_filled from pgbench_accounts where interest is not null;
