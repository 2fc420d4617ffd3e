-- Everything is there: what has come since the inventory was begun is ours. It is kept as a function, which a dump of the schema alone
-- holds as well.
do $sql$
begin
    execute pg_catalog.format($create$
-- Purpose: the objects of this installation, as pg_get_object_address() takes them: names outlive dump and restore.
create function pgbackground.inventory() returns table (kind text, names text[], arguments text[])
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $inventory$
    values ('function', '{pgbackground,inventory}'::text[], '{}'::text[]),
           ('function', '{pgbackground,our_objects}', '{}'),
           %s
$inventory$
$create$, (
        select string_agg(format('(%L, %L, %L)', o.kind, o.names, o.arguments), E',\n           ' order by o.kind, o.names, o.arguments)
          from ((select i.kind, i.names, i.arguments from pgbackground.objects_in('@extschema@') i
                 except select b.kind, b.names, b.arguments from pgbackground.of_others b)
                union select i.kind, i.names, i.arguments from pgbackground.objects_in('pgbackground') i) o
         where o.names <> '{pgbackground,of_others}'));
end
$sql$;
drop table pgbackground.of_others;

-- Purpose: the objects of this installation that are still there.
create function pgbackground.our_objects() returns table (classid oid, objid oid)
language plpgsql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    each record;
begin
    for each in
        select i.kind, i.names, i.arguments from pgbackground.inventory() i
    loop
        begin
            select a.classid, a.objid into classid, objid
              from pg_get_object_address(each.kind, each.names, each.arguments) a;
            return next;
        exception when undefined_object or undefined_function or undefined_table or invalid_schema_name or wrong_object_type then
            -- Somebody has dropped it.
            null;
        end;
    end loop;
end
$plpgsql$;
