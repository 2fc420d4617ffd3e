-- For the users of pg_background_plpy, and for nobody else, whatever default privileges say.
do $sql$
declare
    given record;
begin
    for given in
        select distinct o.name, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee
          from (select 'schema cron' as name, n.nspowner as owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
                  from pg_namespace n where n.nspname = 'cron'
                union all
                select 'table ' || c.oid::regclass, c.relowner, coalesce(c.relacl, acldefault('r', c.relowner))
                  from pg_class c where c.oid in ('cron.job'::regclass, 'cron.job_run_details'::regclass)
                union all
                select 'function ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
                  from pg_proc p
                 where p.pronamespace = 'cron'::regnamespace
                       and p.proname in ('schedule', 'schedule_in_database', 'alter_job', 'unschedule')
                    or p.pronamespace = 'pgbackground'::regnamespace
                       and p.proname in ('cron_keep', 'cron_check', 'cron_refuse_null', 'cron_message', 'cron_job_changed', 'remove_cron')) o,
               aclexplode(o.acl) a
         where a.grantee <> o.owner
    loop
        execute format('revoke all on %s from %s', given.name, given.grantee);
    end loop;
end
$sql$;
grant usage on schema cron to pgbackground_role;
grant select on cron.job to pgbackground_role;
grant select, delete on cron.job_run_details to pgbackground_role;
grant execute on function cron.schedule(text, text), cron.schedule(text, text, text),
    cron.schedule_in_database(text, text, text, text, text, bool), cron.alter_job(int8, text, text, text, text, bool),
    cron.unschedule(int8), cron.unschedule(text),
    pgbackground.cron_keep(int8, text, text, text, text, bool), pgbackground.cron_check(text, text, text),
    pgbackground.cron_refuse_null(text, text, text),
    pgbackground.cron_message(text, text, bool, text, int8, text, text, text) to pgbackground_role;
