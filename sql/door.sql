-- Purpose: the one door to privilege. It runs what the product's own Python left for it a moment before, with the
-- rights of the schema's owner. Users cannot write Python, so for them there is never anything to run. Raises 42501.
-- client_min_messages: the caller's debug_print_plan would show him the names of links and what is said over them.
create function pgbackground.door() returns void
language plpython3u volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $python$
if "opened" not in SD:
    # SD is this function's own: the session has not used this installation yet. What it remembers is of an earlier one, which had
    # other jobs.
    SD["opened"] = True
    for name in ("jobs", "let go"):
        GD.get("pg_background memory", {}).pop(name, None)
left = GD.pop("pg_background door", None)
if left is None:
    plpy.error("pg_background: this function is not for direct use", sqlstate="42501")
left()
$python$;

-- Purpose: SHOW ALL as a table: every setting as it is now, at a third of what pg_settings costs.
create function pgbackground.show_all() returns table (name text, setting text, description text)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    return query execute 'show all';
end
$plpgsql$;

-- Purpose: run a statement that PL/pgSQL cannot (SELECT INTO) with the caller's own rights. Returns how many rows it had.
create function pgbackground.execute(statement text) returns int8
language plpython3u volatile parallel unsafe
as $python$
return plpy.execute(statement).nrows()
$python$;
