-- What the clocks of a place show, by the server's own tz database, so that schedules agree with what psql shows.

-- Purpose: the name of a zone as the tz database writes it; null where it has none of that name. Abbreviations and POSIX's forms are none.
create function pgbackground.zone_name(in_name text) returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $sql$
    select z.name from pg_timezone_names z where lower(z.name) = lower(in_name) limit 1
$sql$;

-- Purpose: a moment with the offset that holds then, in seconds east of UTC, and each moment after it and before another at which another one
-- begins; moments are seconds since 1970. Not by AT TIME ZONE, for which CET is an abbreviation, without summer time.
-- Raises 22023 for a zone that the server does not know.
create function pgbackground.zone_changes(in_zone text, first int8, last int8) returns table (moment int8, ahead int4)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $plpgsql$
declare
    change record;
    before int8;
    after int8;
    middle int8;
begin
    perform set_config('timezone', in_zone, true);
    moment := first;
    ahead := extract(timezone from to_timestamp(first));
    return next;
    for change in
        select d.day, d.ahead_before
          from (select e.day, e.ahead, lag(e.ahead) over (order by e.day) as ahead_before
                  from (select least(day, last - 1) as day, extract(timezone from to_timestamp(least(day, last - 1)))::int4 as ahead
                          from generate_series(first, last + 86399, 86400) day) e) d
         where d.ahead <> d.ahead_before order by d.day
    loop
        before := greatest(change.day - 86400, first);
        after := change.day;
        while after - before > 1 loop
            middle := (before + after) / 2;
            if extract(timezone from to_timestamp(middle)) = change.ahead_before then
                before := middle;
            else
                after := middle;
            end if;
        end loop;
        moment := after;
        ahead := extract(timezone from to_timestamp(after));
        return next;
    end loop;
end
$plpgsql$;
