create function @extschema@.pg_background_cancel_by_label(pattern text, grace_ms int4 default 0) returns int4
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].cancel_by_label(pattern, grace_ms)
$python$;
comment on function @extschema@.pg_background_cancel_by_label(text, int4) is
    'Cancel the live jobs of this session whose label is LIKE the pattern, with grace_ms as in pg_background_cancel; returns how many. As pg_background 2.0.';
