create function @extschema@.pg_background_stats() returns @extschema@.pg_background_stats
language plpython3u volatile parallel unsafe
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
return GD["pg_background @hash@"].stats()
$python$;
comment on function @extschema@.pg_background_stats() is
    'Counters of the jobs that this session launched; times in ms. As pg_background 2.0, but a job counts as completed, failed or canceled from its end on.';
