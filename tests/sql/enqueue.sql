\i setup.sql
select plan(9);

select has_function('background', 'pg_background_enqueue', array['text', 'jsonb', 'text', 'timestamptz', 'int4', 'int4', 'interval', 'text', 'int8[]', 'text', 'text', 'int4', 'text', 'bool'], 'enqueue has its fourteen arguments');
select * from pg_background_enqueue('select $1::int + 1', params => '[41]', label => 'later') \gset
select is(:pid, 0, 'the handle has pid 0');
select results_eq(
    format('select * from pg_background_result(0, %s) as (i int)', :cookie), 'values (42)', 'the handle leads to the rows');
select is((pg_background_outcome(0, :cookie)).label, 'later', 'the label stays with the job');
select ok(h is null, 'a null text gives a null handle') from pg_background_enqueue(null) h;
select throws_ok($$select pg_background_enqueue('select 1', attempts => 0)$$, '22023', null, 'no attempt at all is refused');
select throws_ok($$select pg_background_enqueue('select 1', after => '{1}')$$, '42704', null, 'an unknown parent is refused');
select throws_ok($$select pg_background_enqueue('select 1', retry_on => 'luck')$$, '22023', null, 'an unknown word is refused');
select is((pg_background_enqueue('select 1', run_at => '2999-01-01', key => 'k')).cookie, (pg_background_enqueue('select 2', key => 'k')).cookie, 'a key has one unfinished job');

select * from finish();
