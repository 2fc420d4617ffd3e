-- Purpose: apply the launcher's settings, for the rest of the transaction or of the session.
-- One that this login may not set, or that this session can no longer take, is left out.
create function pgbackground.apply_settings(setting_names text[], setting_values text[], for_transaction bool) returns void
language plpgsql volatile parallel unsafe
as $plpgsql$
declare
    i pg_catalog.int4;
begin
    for i in 1 .. pg_catalog.cardinality(setting_names) loop
        begin
            perform pg_catalog.set_config(setting_names[i], setting_values[i], for_transaction);
        exception when others then
            null;
        end;
    end loop;
end
$plpgsql$;
