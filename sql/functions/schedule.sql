create function @extschema@.pg_background_schedule(
    name text, schedule text, sql text, timezone text default null, overlap text default 'one', missed text default 'last',
    max_late interval default null, jitter interval default '0', active bool default true, options jsonb default '{}')
returns int8
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].schedule(name, schedule, sql, {
    "timezone": timezone, "overlap": overlap, "missed": missed, "max_late": max_late, "jitter": jitter, "active": active,
    "options": options})
$python$;
comment on function @extschema@.pg_background_schedule(text, text, text, text, text, text, interval, interval, bool, jsonb) is
    'Run SQL at certain times, as the caller, from the commit of this transaction on; a schedule of the same role and name is replaced. Returns its id. schedule: five fields of cron, @hourly @daily @midnight @weekly @monthly @yearly @annually @reboot, N seconds (1-59), @every with an interval, or a timestamp (once). timezone: an IANA name, null for the session''s. overlap: one (at most one of its jobs running and one waiting), skip (nothing while one is unfinished) or all. missed, of times that came while nobody looked: last (the newest of them becomes a job), skip (none that is more than a minute old) or all. max_late: what is older is dropped; jitter: each job starts later by chance, by this at most (up to 30 days); active: false keeps it from being due; options: arguments of pg_background_enqueue by name (attempts, backoff, keeps_rows, label, notify, params, priority, retry_on, timeout_ms). Raises 22023 for a bad argument and names it, 22001 for a label, 0A000 for parameters of several statements, 25006 on a standby. Beyond pg_background.';
