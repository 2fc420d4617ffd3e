-- pg_background_plpy @version@: psql -v ON_ERROR_STOP=1 -f install.sql, as a superuser, in the database that is to have it.
begin;
create extension if not exists plpython3u;
create extension if not exists dblink;
create schema if not exists @extschema@;
