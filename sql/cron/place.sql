-- Is there room for it? Beside the real one, or in a schema that somebody else could change, it is not installed.
do $sql$
declare
    owner record;
begin
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        raise exception using errcode = '42501', message = 'the schema cron is made by a superuser';
    elsif to_regprocedure('pgbackground.keep_cron_job(int8, text, text, text, text, bool)') is null
          or to_regprocedure('@extschema@.pg_background_unschedule(text)') is null then
        raise exception using errcode = '42704',
            message = 'pg_background_plpy @version@ is not installed in schema @extschema@ of this database',
            hint = 'Run install.sql of the same version before cron.sql.';
    elsif exists (select from pg_extension e where e.extname = 'pg_cron') then
        raise exception using errcode = '42710', message = 'this database has the extension pg_cron, whose schema is called cron, too',
            hint = 'In one transaction: select * from @extschema@.pg_background_import_cron(); drop extension pg_cron; then run cron.sql.';
    end if;
    select n.nspowner, n.nspowner = (select o.nspowner from pg_namespace o where o.nspname = 'pgbackground') as is_ours into owner
      from pg_namespace n where n.nspname = 'cron';
    if found and not (owner.is_ours and to_regprocedure('pgbackground.remove_cron()') is not null) then
        raise exception using errcode = '42P06', message = 'there is a schema cron already, and it is not of pg_background_plpy',
            hint = 'Look what is in it, and rename or drop it.';
    end if;
end
$sql$;
create schema if not exists cron;
comment on schema cron is 'The functions and views of pg_cron over the schedules and jobs of pg_background_plpy.';
