create function @extschema@.pg_background_messages(
    pid int4, cookie int8,
    out seq int4, out severity text, out message text, out detail text, out hint text) returns setof record
language plpython3u volatile strict parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].messages(pid, cookie)
$python$;
comment on function @extschema@.pg_background_messages(int4, int8) is
    'The messages (INFO, NOTICE, WARNING ...) that a top-level job sent to its client, in order: all that VACUUM VERBOSE says. The first 10,000 of them and 16 MB are kept. Empty until the job has ended, and for inline jobs. Kept as long as the jobs outcome. Raises 42704, 55000, 42501. Beyond pg_background.';
