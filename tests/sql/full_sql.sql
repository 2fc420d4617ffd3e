\i setup.sql
select plan(4);

select has_function('background', 'pg_background_full_sql', array['integer', 'bigint'], 'full_sql takes a handle');
select * from pg_background_launch('select ' || repeat('1 + ', 5000) || E'1 -- the end \\ "here"\n') \gset
select is(pg_background_full_sql(:pid, :cookie), 'select ' || repeat('1 + ', 5000) || E'1 -- the end \\ "here"\n', 'it is the text of the launch, whole and unchanged');
select throws_ok('select pg_background_full_sql(1, 1)', '42704', null, 'an unknown handle is refused');
select pg_background_detach(:pid, :cookie) \gset
select is(length(pg_background_full_sql(:pid, :cookie)), 7 + 4 * 5000 + 22, 'it is known after detach, too');

select * from finish();
