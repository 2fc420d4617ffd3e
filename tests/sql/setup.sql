-- Included by every file here. Jobs run in sessions of their own, so tests commit what jobs shall see:
-- each file makes its objects in a schema of its own, and drops it at the end.
-- A test that hangs is a failure.
set statement_timeout = '20s';
set client_min_messages = warning;
set search_path = background, public;

-- throws_ok does not catch 57014.
create function pg_temp.sqlstate_of(query text) returns text language plpgsql as $$
begin
    execute query;
    return 'no error';
exception when others or query_canceled then
    return sqlstate;
end $$;
