create function @extschema@.pg_background_start_clock_at_login(active bool default true) returns bool
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    trigger name := (select t.evtname from pg_event_trigger t where t.evtfoid = 'pgbackground.login_begins'::regproc limit 1);
    is_extension bool := exists (select from pg_extension e where e.extname = 'pg_background_plpy');
begin
    if active is null then
        raise exception using errcode = '22023', message = 'pg_background: active must not be null';
    elsif active and current_setting('server_version_num')::int4 < 170000 then
        raise exception using errcode = '0A000',
            message = 'pg_background: a login starts the clock on PostgreSQL 17 and later only',
            hint = 'Let something call pg_background_tick() after each start of the server: docs/operations.md, "Who starts the clock", has the lines for systemd, cron and PgBouncer.';
    elsif active and trigger is not null then
        execute format('alter event trigger %I enable', trigger);
    elsif active then
        execute 'create event trigger pg_background_plpy_login on login execute function pgbackground.login_begins()';
        comment on event trigger pg_background_plpy_login is
            'Starts the clock of pg_background_plpy where it is missing; pg_background_start_clock_at_login(false) removes this.';
        if is_extension then
            alter extension pg_background_plpy add event trigger pg_background_plpy_login;
        end if;
    elsif trigger is not null then
        if is_extension then
            execute format('alter extension pg_background_plpy drop event trigger %I', trigger);
        end if;
        execute format('drop event trigger %I', trigger);
    end if;
    return active;
end
$plpgsql$;
comment on function @extschema@.pg_background_start_clock_at_login(bool) is
    'For the DBA, on PostgreSQL 17 and later: let every login of this database, of whatever role, start the clock where something is due later and nobody keeps it, as after a restart of the server; active false: no longer. It makes an event trigger, which keeps nobody from logging in, whatever happens, and does nothing on a standby or in a copy of the database. Returns active. Raises 0A000 on PostgreSQL 15 and 16, 42501 for those who are no superusers, 22023 for a null. Beyond pg_background.';
