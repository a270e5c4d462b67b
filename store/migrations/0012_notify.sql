-- What notify remembers of problems, and what it gathers.

-- One row a problem that fires or was told of lately: what was told of it and to whom (CBOR).
create table told (
    generation  int not null,
    project     text collate "C" not null,
    fingerprint uuid not null,
    lane        int not null,
    state       bytea not null,
    -- When to look at it again: microseconds of lane time, null for never.
    due         bigint,
    primary key (generation, project, fingerprint)
) partition by list (generation);
create index told_due on told (generation, lane, due, project, fingerprint) where due is not null;

-- One row a lane: summaries that are still to be told, storms, budgets (CBOR). It changes with nearly
-- every batch; what is in force changes seldom and stands in lane_state.
create table gathered (
    generation int not null,
    lane       int not null,
    state      bytea not null,
    primary key (generation, lane)
);
alter table gathered set (fillfactor = 50);

-- As before, with `told` among the tables by generation.
create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'incident_action', 'run', 'send', 'notice', 'silence', 'told', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    foreach t in array array['problem', 'opening', 'incident', 'told', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = %s)', t || '_g' || g, case t when 'opening' then 85 else 60 end);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected', 'handle'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

select bw_open_generation(generation) from generation where state <> 'dropped';
