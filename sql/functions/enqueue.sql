create function @extschema@.pg_background_enqueue(
    sql text, params jsonb default null, label text default null, run_at timestamptz default null, priority int4 default 0,
    attempts int4 default 1, backoff interval default '10 s', retry_on text default 'transient', after int8[] default null,
    after_state text default 'stopped', key text default null, timeout_ms int4 default 0, notify text default null,
    keeps_rows bool default true)
returns @extschema@.pg_background_handle
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].enqueue(sql, {
    "params": params, "label": label, "run_at": run_at, "priority": priority, "attempts": attempts, "backoff": backoff,
    "retry_on": retry_on, "after": after, "after_state": after_state, "key": key, "timeout_ms": timeout_ms, "notify": notify,
    "keeps_rows": keeps_rows})
$python$;
comment on function @extschema@.pg_background_enqueue(
    text, jsonb, text, timestamptz, int4, int4, interval, text, int8[], text, text, int4, text, bool) is
    'Queue a job in the caller''s own transaction: it exists if and only if that commits. Returns a handle with pid 0; that of the unfinished job of the same role and key where there is one. run_at: not before; priority: higher first within a role; attempts, backoff (doubling, at most an hour), retry_on: transient or any; after: cookies of jobs that have to end first, as stopped or (after_state ended) in any way; timeout_ms: bounds the job; notify: a channel that is told of the end. Raises 22023, 42704 and 42501 (a job in after), 54000, and as pg_background_launch. Beyond pg_background.';
