-- Purpose: keep a chunk of the job's rows, in the job's own transaction. Raises 42501 for anybody but the worker itself.
-- Tables: job_rows (insert).
create function @extschema@._store_rows(in_cookie int8, in_token uuid, in_chunk int4, in_rows text[]) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    if not exists (select from @extschema@.job j where j.cookie = in_cookie and j.token = in_token and j.pid = pg_backend_pid()) then
        raise exception using errcode = '42501', message = 'only the worker keeps a job''s rows';
    end if;
    insert into @extschema@.job_rows (cookie, chunk, rows) values (in_cookie, in_chunk, in_rows);
end
$plpgsql$;
