-- What pgbench --initialize makes, for servers that come without pgbench. demo.scale is its scale factor.
create table pgbench_branches (bid int primary key, bbalance int, filler char(88)) with (fillfactor = 100);
create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84)) with (fillfactor = 100);
create table pgbench_accounts (aid int, bid int, abalance int, filler char(84)) with (fillfactor = 100);
create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));

insert into pgbench_branches
select b, 0 from generate_series(1, current_setting('demo.scale')::int) b;
insert into pgbench_tellers
select t, (t - 1) / 10 + 1, 0 from generate_series(1, 10 * current_setting('demo.scale')::int) t;
insert into pgbench_accounts
select a, (a - 1) / 100000 + 1, 0, '' from generate_series(1, 100000 * current_setting('demo.scale')::int) a;
alter table pgbench_accounts add primary key (aid);
vacuum analyze pgbench_branches, pgbench_tellers, pgbench_accounts, pgbench_history;
