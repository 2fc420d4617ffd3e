create function @extschema@.pg_background_drain(handles @extschema@.pg_background_handle[], timeout_ms int4 default 0) returns setof @extschema@.pg_background_outcome
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].drain(handles, timeout_ms)
$python$;
comment on function @extschema@.pg_background_drain(@extschema@.pg_background_handle[], int4) is
    'Wait for many jobs within one deadline (ms; 0 or less: for ever) and return their outcomes, one row per handle in their order; the ended ones are detached. A null handle is passed over; one that nothing is known of gives nulls. Raises 40P01 as pg_background_wait. As pg_background 2.0.';
