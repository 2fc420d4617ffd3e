create function @extschema@.pg_background_next_runs(
    schedule text, timezone text default null, n int4 default 5, after timestamptz default pg_catalog.now())
returns setof timestamptz
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].next_runs(schedule, timezone, n, after)
$python$;
comment on function @extschema@.pg_background_next_runs(text, text, int4, timestamptz) is
    'When a schedule would be due: the next n (0 to 1000) times after one, in order; fewer where it ends, none for @reboot. schedule, timezone: as pg_background_schedule takes them. Stores nothing. Raises 22023 for a bad argument and names it. Beyond pg_background.';
