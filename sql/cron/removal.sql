-- Purpose: take the schema cron away again, in this transaction; schedules and jobs stay. What others have in it, or what depends on it, is never
-- dropped. Raises 2BP01 and says what that is.
create or replace function pgbackground.remove_cron() returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    reason text;
    dependents text;
begin
    drop view cron.job, cron.job_run_details;
    drop function cron.schedule(text, text), cron.schedule(text, text, text),
        cron.schedule_in_database(text, text, text, text, text, bool), cron.alter_job(int8, text, text, text, text, bool),
        cron.unschedule(int8), cron.unschedule(text),
        pgbackground.cron_keep(int8, text, text, text, text, bool), pgbackground.cron_check(text, text, text),
        pgbackground.cron_refuse_null(text, text, text),
        pgbackground.cron_message(text, text, bool, text, int8, text, text, text), pgbackground.cron_job_changed();
    drop schema cron;
    drop function pgbackground.remove_cron();
exception when dependent_objects_still_exist then
    get stacked diagnostics reason = message_text, dependents = pg_exception_detail;
    raise exception using errcode = 'dependent_objects_still_exist',
        message = 'the schema cron cannot be removed: objects of others depend on it or are in it',
        detail = dependents, hint = 'Drop or move these, and try again. Nothing has been changed.';
end
$plpgsql$;
