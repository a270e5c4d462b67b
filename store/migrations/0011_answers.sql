-- Silences, why something was told or not to the last step, and until when an incident is silenced.

-- One row a silence of a project; that it is over stands in it.
create table silence (
    generation int not null,
    project    text collate "C" not null,
    silence    text not null,
    -- [{name, operator, value}]: all of them match.
    matchers   jsonb not null,
    starts_at  timestamptz not null,
    ends_at    timestamptz not null,
    owner      text not null,
    reason     text not null,
    -- Lane time of its first record, and who made it.
    created_at timestamptz not null,
    created_by text not null,
    -- The last change, and where its record stands: every lane that tells of it tells the same.
    changed_at timestamptz not null,
    changed_by text not null,
    inc        bigint not null,
    seq        bigint not null,
    rec        int not null,
    -- It was ended before its time.
    ended      bool not null default false,
    primary key (generation, project, silence)
) partition by list (generation);
create index silence_newest on silence (generation, project, ends_at desc);

create type silence_row as (
    project text, silence text, matchers jsonb, starts_at timestamptz, ends_at timestamptz, owner text,
    reason text, changed_at timestamptz, changed_by text, inc bigint, seq bigint, rec int
);

-- Nobody is told of it until then, because an operator said so.
alter table incident add column silenced_until timestamptz;
create type incident_change_row_2 as (
    project text, incident uuid, occurrences bigint, status text, closed_at timestamptz, analysis jsonb,
    analysed_at timestamptz, updated_at timestamptz, risk text, level text, frequency jsonb, flapping bool,
    silenced bool, silenced_until timestamptz
);

-- The summary it is or will be told in, and what decided besides the rule.
alter table notice
    add column summary    text,
    add column decided_by text;
create type notice_row_2 as (
    project text, event_id uuid, incident uuid, opening text, at text, verdict text, kind text,
    receiver text, reason text, rule text, rules text, lane_time timestamptz, summary text,
    decided_by text
);

-- The rule its fingerprint was made by; absent where it is the built-in one.
alter table dossier add column fingerprint_by text;
create type dossier_row_2 as (
    day int, inc bigint, seq bigint, rec int, idx int, event_id uuid, record uuid, project text, source text,
    channel_type text, provider text, stage text, provider_event_id text, title text, content_preview text,
    content_redacted text, has_redacted_content bool, redaction_version text, source_url text,
    content_sha256 bytea, content_length bigint, source_refs jsonb, source_ref_count int,
    sentry_ref_count int, signoz_ref_count int, alert_ref_count int, log_correlation jsonb, facts jsonb,
    alertname text, severity text, namespace text, target_resource text, fingerprint uuid,
    recurrence_key uuid, effect text, is_duplicate bool, incident uuid, provider_ts timestamptz,
    received_at timestamptz, fingerprint_by text
);

-- As before, with `silence` among the tables.
create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'incident_action', 'run', 'send', 'notice', 'silence', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    foreach t in array array['problem', 'opening', 'incident', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = %s)', t || '_g' || g, case t when 'opening' then 85 else 60 end);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen', 'rejected', 'handle'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

select bw_open_generation(generation) from generation where state <> 'dropped';
