-- What operators asked for, and what became of it.

-- One row a command that was applied or refused, and a redrive that was refused.
create table incident_action (
    generation int not null,
    project    text collate "C" not null,
    -- Derived from the id of the command's record and from the verdict.
    event_id   uuid not null,
    -- Absent where there is none of that opening.
    incident   uuid,
    -- Where the command stands.
    inc        bigint not null,
    seq        bigint not null,
    rec        int not null,
    -- applied or refused
    verdict    text not null,
    verb       text not null,
    actor      text not null,
    auth_method text not null,
    -- The incident's states around a command that was applied; equal where it found its work done or
    -- changes no state.
    before     text,
    after      text,
    changed    bool not null,
    -- The command's, redacted.
    arguments  jsonb,
    -- Why it was refused.
    reason     text,
    lane_time  timestamptz not null,
    primary key (generation, project, event_id)
) partition by list (generation);
create index incident_action_by_incident on incident_action (generation, project, incident, inc, seq, rec);

create type incident_action_row as (
    project text, event_id uuid, incident uuid, inc bigint, seq bigint, rec int, verdict text, verb text,
    actor text, auth_method text, before text, after text, changed bool, arguments jsonb, reason text,
    lane_time timestamptz
);

-- As before, with `incident_action` among the tables.
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
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

select bw_open_generation(generation) from generation where state <> 'dropped';
