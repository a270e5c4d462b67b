-- What analysts answered and what it cost, what operators think of it, and what past incidents are found by.

-- One row a triage run that came to a diagnosis, with the last verdict of an operator.
create table diagnosis (
    generation  int not null,
    project     text collate "C" not null,
    run         uuid not null,
    incident    uuid not null,
    -- The analyst that answered, its model, and the version of the prompt it was given; the last two
    -- are absent of one that needs neither.
    analyst     text,
    model       text,
    prompt      text,
    -- Absent while only a verdict on it is known: a rebuild may begin behind its answer.
    analysis    jsonb,
    inconclusive bool not null default false,
    -- Lane time of the answer.
    answered_at timestamptz,
    -- confirmed or rejected; absent while nobody said.
    verdict     text,
    verdict_by  text,
    verdict_at  timestamptz,
    -- What the operator wrote with it, redacted.
    note        text,
    primary key (generation, project, run)
) partition by list (generation);
create index diagnosis_newest on diagnosis (generation, project, answered_at);

create type diagnosis_row as (
    project text, run uuid, incident uuid, analyst text, model text, prompt text, analysis jsonb,
    inconclusive bool, answered_at timestamptz, verdict text, verdict_by text, verdict_at timestamptz,
    note text
);

-- One row an analyst that was asked in a triage run.
create table analyst_call (
    generation  int not null,
    project     text collate "C" not null,
    run         uuid not null,
    -- Its place among those that were asked.
    ordinal     int not null,
    analyst     text not null,
    model       text,
    prompt      text,
    -- answered, or the name of the failure.
    result      text not null,
    -- Requests made; an analyst that needs none, or was not let ask, made none.
    calls       int not null,
    tokens_in   bigint not null,
    tokens_out  bigint not null,
    -- Millionths of the currency that prices are configured in.
    cost_micros bigint not null,
    latency_ms  bigint,
    -- Lane time of the answer.
    at          timestamptz not null,
    primary key (generation, project, run, ordinal)
) partition by list (generation);
create index analyst_call_newest on analyst_call (generation, project, at);

create type analyst_call_row as (
    project text, run uuid, ordinal int, analyst text, model text, prompt text, result text, calls int,
    tokens_in bigint, tokens_out bigint, cost_micros bigint, latency_ms bigint, at timestamptz
);

-- One row an operator who said whether the messages about an incident were of use: the last word counts.
create table usefulness (
    generation int not null,
    project    text collate "C" not null,
    incident   uuid not null,
    operator   text not null,
    -- useful, not_useful or noise
    verdict    text not null,
    -- The diagnosis that stood then, if there was one.
    run        uuid,
    -- Lane time.
    at         timestamptz not null,
    primary key (generation, project, incident, operator)
) partition by list (generation);
create index usefulness_newest on usefulness (generation, project, at);

create type usefulness_row as (
    project text, incident uuid, operator text, verdict text, run uuid, at timestamptz
);

-- What incidents with a confirmed diagnosis are found by: words of their alert. Whether it is still
-- confirmed stands with the diagnosis.
create table likeness (
    generation  int not null,
    project     text collate "C" not null,
    word        text collate "C" not null,
    -- Lane time at which its incident opened: of a common word, the newest are looked at.
    at          timestamptz not null,
    run         uuid not null,
    primary key (generation, project, word, at, run)
) partition by list (generation);

create type likeness_row as (project text, word text, at timestamptz, run uuid);

-- As before, with these among the tables by generation.
create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'incident_action', 'run', 'diagnosis', 'analyst_call', 'usefulness', 'likeness', 'send', 'notice', 'silence', 'told', 'recurrence', 'coverage'] loop
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
