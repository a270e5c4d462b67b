-- The rows a batch writes, as one parameter each. Not the tables' own types: a binary of before a column
-- was added to a table still writes the row it knows. A row of another shape is a new type.

create type ledger_row as (outcome text, records bigint);
create type producer_row as (producer uuid, of_all bool, number bigint, total bigint);
create type unpublished_row as (
    ordinal int, stream text, subject text, message_id text, headers jsonb, payload bytea
);

create type dossier_row as (
    day int, inc bigint, seq bigint, rec int, idx int, event_id uuid, record uuid, project text, source text,
    channel_type text, provider text, stage text, provider_event_id text, title text, content_preview text,
    content_redacted text, has_redacted_content bool, redaction_version text, source_url text,
    content_sha256 bytea, content_length bigint, source_refs jsonb, source_ref_count int,
    sentry_ref_count int, signoz_ref_count int, alert_ref_count int, log_correlation jsonb, facts jsonb,
    alertname text, severity text, namespace text, target_resource text, fingerprint uuid,
    recurrence_key uuid, effect text, is_duplicate bool, incident uuid, provider_ts timestamptz,
    received_at timestamptz
);
create type delivery_row as (
    day int, record uuid, inc bigint, seq bigint, rec int, project text, source text, provider text,
    outcome text, reason text, alerts int, received_at timestamptz
);
create type incident_change_row as (
    project text, incident uuid, occurrences bigint, status text, closed_at timestamptz, analysis jsonb,
    analysed_at timestamptz, updated_at timestamptz, risk text, level text, frequency jsonb, flapping bool
);
create type notice_row as (
    project text, event_id uuid, incident uuid, opening text, at text, verdict text, kind text,
    receiver text, reason text, rule text, rules text, lane_time timestamptz
);
create type recurrence_row as (
    project text, recurrence_key uuid, provider text, alertname text, severity text, namespace text,
    target_resource text, fingerprint uuid, latest_event_id uuid, latest_provider_event_id text,
    latest_content_preview text, latest_incident uuid, occurrence_total bigint, duplicate_total bigint,
    redacted_total bigint, source_ref_total bigint, missing_source_refs_total bigint,
    sentry_ref_total bigint, signoz_ref_total bigint, alert_ref_total bigint,
    first_received_at timestamptz, latest_received_at timestamptz, linked_total bigint
);
create type coverage_row as (
    project text, provider text, total bigint, duplicate_total bigint, redacted_total bigint,
    source_ref_total bigint, missing_source_refs_total bigint, sentry_ref_total bigint,
    signoz_ref_total bigint, alert_ref_total bigint, latest_received_at timestamptz,
    latest_real_received_at timestamptz
);
