-- What the installation makes, so that uninstalling takes nothing else away.

create table pgbackground.installation (
    id int4 primary key default 1 check (id = 1),
    version text not null,
    schema_is_ours bool not null,
    names_were_public bool not null default false
);
comment on table pgbackground.installation is 'One row about this installation.';
comment on column pgbackground.installation.schema_is_ours is
    'Was the schema made by install.sql? Uninstalling leaves one that was there before.';
comment on column pgbackground.installation.names_were_public is
    'Could everybody list the names of dblink connections before the installation? Uninstalling gives that back.';
insert into pgbackground.installation (version, schema_is_ours)
values ('@version@', pg_catalog.current_setting('pgbackground_installing.schema_is_new', true) is not distinct from 'true');

-- Purpose: the objects of a schema that stand for themselves: no indexes, no row types, no sequences of columns.
create function pgbackground.objects_in(home regnamespace) returns table (kind text, names text[], arguments text[])
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $sql$
    select a.type, a.object_names, a.object_args
      from pg_depend d, pg_identify_object_as_address(d.classid, d.objid, 0) a
     where d.refclassid = 'pg_namespace'::regclass and d.refobjid = home and d.objsubid = 0 and d.deptype = 'n'
       and not exists (
           select from pg_depend p where p.classid = d.classid and p.objid = d.objid and p.deptype in ('i', 'a'))
$sql$;

-- What is in the public schema already belongs to others. The table goes as soon as everything is there.
create table pgbackground.of_others as
select o.kind, o.names, o.arguments from pgbackground.objects_in('@extschema@') o;
