-- The verbs that name a job by pid and cookie, for a handle as one value: pg_background_result(pg_background_launch('...')).
-- One argument only: with a time limit beside it, pg_background_wait($1, $2) from a driver that leaves types to the server would be ambiguous.
do $sql$
declare
    verb record;
    kind text;
begin
    for verb in
        select * from (values
            ('result_json', 'result_json', 'returns setof jsonb', ''),
            ('messages', 'messages', ', out seq int4, out severity text, out message text, out detail text, out hint text) returns setof record', ''),
            ('wait', 'wait', 'returns bool', ', 0'),
            ('await', 'await_', '', ', 0'),
            ('cancel', 'cancel', 'returns void', ', 0'),
            ('detach', 'detach', 'returns void', ''),
            ('outcome', 'outcome', 'returns @extschema@.pg_background_outcome', ''),
            ('result_info', 'result_info', 'returns @extschema@.pg_background_result_info', ''),
            ('error_info', 'error_info', 'returns @extschema@.pg_background_error', ''),
            ('get_progress', 'get_progress', 'returns @extschema@.pg_background_progress_info', ''),
            ('full_sql', 'full_sql', 'returns text', '')) v (name, function, result, defaults)
    loop
        kind := case verb.result when '' then 'procedure' else 'function' end;
        execute pg_catalog.format(
            $create$
create %s @extschema@.pg_background_%s(handle @extschema@.pg_background_handle%s
language plpython3u %s
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].%s(*(handle["pid"], handle["cookie"]) if handle else (None, None)%s)
$python$
$create$,
            kind, verb.name, case when verb.result like ',%' then verb.result else ') ' || verb.result end,
            case kind when 'function' then 'volatile strict parallel unsafe' else '' end, verb.function, verb.defaults);
        execute pg_catalog.format(
            'comment on %s @extschema@.pg_background_%s(@extschema@.pg_background_handle) is %L', kind, verb.name,
            pg_catalog.format('pg_background_%s for a handle as one value. Beyond pg_background.', verb.name));
    end loop;
end
$sql$;

do $sql$
begin
    execute pg_catalog.replace(pg_catalog.replace(
        pg_catalog.pg_get_functiondef('@extschema@.pg_background_result(int4, int8)'::pg_catalog.regprocedure),
        '(pid integer, cookie bigint)', '(handle @extschema@.pg_background_handle)'),
        E'\ndeclare\n', E'\ndeclare\n    pid pg_catalog.int4 := handle.pid;\n    cookie pg_catalog.int8 := handle.cookie;\n');
end
$sql$;
comment on function @extschema@.pg_background_result(@extschema@.pg_background_handle) is
    'pg_background_result for a handle as one value: select * from pg_background_result(pg_background_launch(''select 1'')) as (n int). Beyond pg_background.';
