-- Timers of problems, deliveries that may be redriven, and what an incident's page shows of both.

-- When to look at a problem again: microseconds of lane time, null for never. Reports of a problem
-- leave it as it is, so that they stay updates in place; see docs/adr on silence.
alter table problem add column due bigint;
create index problem_due on problem (generation, lane, due, project, fingerprint) where due is not null;

-- Deliveries that ended rejected; a redrive of one takes its row away. (Parked ones stand in `parked`.)
create table rejected (
    generation int not null,
    day        int not null,
    lane       int not null,
    inc        bigint not null,
    seq        bigint not null,
    rec        int not null,
    -- Looked up by position; the day is there for the partitions.
    primary key (generation, lane, inc, seq, rec, day)
) partition by list (generation);

-- `status` is open, acknowledged, confirmed, handed_off or reopened while its episode lasts; then
-- resolved, suppressed or expired.
alter table incident
    -- NONE, REPEAT, ESCALATE, PERMANENT_FIX
    add column escalation_level  text not null default 'NONE',
    -- How often the problem occurred when it last did: count_1h, count_24h, count_7d, escalation_level.
    add column anomaly_frequency jsonb,
    add column flapping          bool not null default false;

-- As before, with `rejected` among the tables by day, and room on the pages of openings as well: answers
-- and commands change them.
create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'run', 'send', 'notice', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    foreach t in array array['problem', 'opening', 'incident', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = %s)', t || '_g' || g, case t when 'opening' then 85 else 60 end);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

create or replace function bw_open_day(g int, d int) returns void language plpgsql as $$
declare
    t text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_day', g));
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected'] loop
        child := t || '_g' || g || '_d' || d;
        if to_regclass(child) is null then
            execute format('create table %I (like %I including all)', child, t || '_g' || g);
            execute format('alter table %I attach partition %I for values from (%s) to (%s)', t || '_g' || g, child, d, d + 1);
        end if;
    end loop;
end $$;

select bw_open_generation(generation) from generation where state <> 'dropped';
