-- Top-level jobs: the worker gives the statement to another session of its own, the executor, and waits.

-- Purpose: may this job, which was refused in a transaction block, run at top level? If it is one statement that changes no rows by
-- itself; then its mode is changed. Raises nothing. Tables: job (update).
create function pgbackground.becomes_top_level(in_cookie int8) returns bool
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    update pgbackground.job j set mode = 'top-level'
     where j.cookie = in_cookie and j.pid = pg_backend_pid() and j.state = 'running' and j.kinds = array['none'] and j.params is null
       and j.expected_tag not in ('INSERT', 'UPDATE', 'DELETE', 'MERGE', 'DO', 'CALL', 'COPY', 'SELECT')
       and not exists (select from pgbackground.request r where r.cookie = in_cookie and r.kind <> 'detach');
    return found;
end
$plpgsql$;

-- Purpose: the worker names the process that is to run the statement, before it is given to it.
-- Raises 57014 when a cancel came first. Tables: job (update, to disk: the statement's effects must not be better known than it is).
create function pgbackground.name_executor(in_cookie int8, in_pid int4) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    perform set_config('synchronous_commit', 'local', true);
    update pgbackground.job j set executor_pid = in_pid where j.cookie = in_cookie and j.pid = pg_backend_pid() and j.state = 'running';
end
$plpgsql$;

-- Purpose: the worker's whole work for a top-level job. It commits again and again, so it pins nothing.
create procedure pgbackground.run_top_level(in_cookie int8, setting_names text[], setting_values text[])
language plpython3u
as $python$
if "pg_background @hash@" not in GD:
    plpy.execute('select pgbackground.load()')
GD["pg_background @hash@"].run_top_level(in_cookie, setting_names, setting_values)
$python$;
