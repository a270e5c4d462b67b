-- What people name an incident by: its number, a message about it, the position that opened it.
create table handle (
    generation int not null,
    -- Lane day it was given on.
    day        int not null,
    lane       int not null,
    -- A hash of the name, and of what kind it is.
    key        uuid not null,
    project    text collate "C" not null,
    -- The position that opened the incident.
    opening    text not null,
    -- Looked up by name alone; the day is there for the partitions.
    primary key (generation, lane, key, day)
) partition by list (generation);

-- As before, with `handle` among the tables by day.
create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'incident_action', 'run', 'send', 'notice', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    foreach t in array array['problem', 'opening', 'incident', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = %s)', t || '_g' || g, case t when 'opening' then 85 else 60 end);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected', 'handle'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

create or replace function bw_open_day(g int, d int) returns void language plpgsql as $$
declare
    t text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_day', g));
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected', 'handle'] loop
        child := t || '_g' || g || '_d' || d;
        if to_regclass(child) is null then
            execute format('create table %I (like %I including all)', child, t || '_g' || g);
            execute format('alter table %I attach partition %I for values from (%s) to (%s)', t || '_g' || g, child, d, d + 1);
        end if;
    end loop;
end $$;

create or replace function bw_drop_days(t text, g int, d int, most int) returns int language plpgsql as $$
declare
    child regclass;
    parent text := t || '_g' || g;
    dropped int := 0;
begin
    if t not in ('dossier', 'delivery', 'seen', 'rejected', 'handle') then
        raise exception 'table % has no days', t;
    end if;
    for child in
        select i.inhrelid::regclass from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass(parent)
        and substring(c.relname from '_d([0-9]+)$')::int < d
        order by substring(c.relname from '_d([0-9]+)$')::int limit most
    loop
        execute format('alter table %I detach partition %s', parent, child);
        execute format('drop table %s', child);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

select bw_open_generation(generation) from generation where state <> 'dropped';
