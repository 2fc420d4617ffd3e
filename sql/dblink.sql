-- dblink's own C functions under names of ours: the schema of the extension belongs to whoever owns the database, as public does from
-- PostgreSQL 15 on, and he could put another one in its place. For the owner alone: called through the door only.
create function pgbackground.dblink_connect_u(text, text) returns text
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_connect';
create function pgbackground.dblink_disconnect(text) returns text
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_disconnect';
create function pgbackground.dblink(text, text) returns setof record
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_record';
create function pgbackground.dblink_send_query(text, text) returns int4
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_send_query';
create function pgbackground.dblink_is_busy(text) returns int4
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_is_busy';
create function pgbackground.dblink_get_result(text) returns setof record
language c volatile strict parallel unsafe as '$libdir/dblink', 'dblink_get_result';
