-- The first schema. `generation` is first in every key and the LIST partition key of every derived
-- table, so that dropping a generation is dropping partitions; alert-grain tables are divided again
-- by lane day (days since 1970-01-01, UTC), which is part of their primary key. Partitions are made
-- by bw_open_generation and bw_open_day, never by hand.
--
-- Input positions are the three columns inc, seq, rec (stream incarnation, sequence, index in the
-- frame); positions of alerts add idx, which is -1 for a record as a whole.

create table generation (
    generation   int primary key,
    -- active: the live one; shadow: folds without effects; frozen: being switched away from.
    state        text not null check (state in ('active', 'shadow', 'frozen', 'dropped')),
    -- Jobs of this generation are pending only above this position.
    promoted_inc bigint not null default 0,
    promoted_seq bigint not null default 0,
    -- No batch crosses this position once it is set.
    frozen_inc   bigint,
    frozen_seq   bigint,
    created_at   timestamptz not null default now()
);
create unique index generation_one_active on generation ((true)) where state = 'active';

-- What the log looked like when it was made; refused when it does not match.
create table log_identity (
    one         bool primary key default true check (one),
    incarnation bigint not null,
    lanes       int not null,
    system_id   text not null
);

-- Where each stage of each lane stands. The compare-and-set on this row is what makes the lane loop
-- right; the advisory lock only saves work.
create table cursor (
    stage        text not null,
    generation   int not null,
    lane         int not null,
    -- The last input record applied. For readers of events: the last event message applied, where
    -- seq is the sequence in the events stream and rec the last event in it.
    inc          bigint not null default 0,
    seq          bigint not null default 0,
    rec          int not null default 0,
    -- How far the input log is covered by it; for observe the same as (inc, seq, rec).
    through_inc  bigint not null default 0,
    through_seq  bigint not null default 0,
    through_rec  int not null default 0,
    -- Running number of this stage's own batches.
    batch        bigint not null default 0,
    -- Last batch and part applied of each writing stage, for readers of events (CBOR).
    marks        bytea not null default '',
    -- Lane time in microseconds.
    lane_time    bigint not null default 0,
    -- Frames of control records this stage has put into `unpublished`.
    frames_out   bigint not null default 0,
    -- Control records in those frames.
    records_out  bigint not null default 0,
    -- Raised before a batch that follows a failure, reset by a commit.
    attempts     int not null default 0,
    fold_version int not null default 0,
    moved_at     timestamptz not null default now(),
    primary key (stage, generation, lane)
);

-- Last frame of each producer in each lane: not greater = the frame stood in the log already.
create table producer (
    generation int not null,
    lane       int not null,
    producer   uuid not null,
    -- The lane's own subject or the subject `all`.
    of_all     bool not null,
    number     bigint not null,
    total      bigint not null,
    primary key (generation, lane, producer, of_all)
);

-- I2: per lane, the records in frame headers up to the cursor (outcome 'in_frames') and each named
-- outcome.
create table ledger (
    generation int not null,
    lane       int not null,
    outcome    text not null,
    records    bigint not null default 0,
    primary key (generation, lane, outcome)
);

-- Messages committed with the cursor and not yet known to be in the log; deleted by the next commit.
create table unpublished (
    stage      text not null,
    generation int not null,
    lane       int not null,
    batch      bigint not null,
    ordinal    int not null,
    -- 'events' or 'deliveries'.
    stream     text not null,
    subject    text not null,
    message_id text,
    headers    jsonb not null default '{}',
    payload    bytea not null,
    primary key (stage, generation, lane, batch, ordinal)
);

-- State of notify and other folds that keep one blob a lane.
create table lane_state (
    stage      text not null,
    generation int not null,
    lane       int not null,
    state      bytea not null,
    primary key (stage, generation, lane)
);

-- One row a problem: its state is the fold of its alerts (CBOR, compact).
create table problem (
    generation  int not null,
    project     text collate "C" not null,
    fingerprint uuid not null,
    lane        int not null,
    state       bytea not null,
    primary key (generation, project, fingerprint)
) partition by list (generation);

-- One row an incident, found by the position that opened it: the problem it belongs to in this
-- generation, and what took effect on it (CBOR, compact). Answers and commands name positions.
create table opening (
    generation  int not null,
    project     text collate "C" not null,
    incident    uuid not null,
    lane        int not null,
    state       bytea not null,
    primary key (generation, project, incident)
) partition by list (generation);

-- Delivery ids of senders that are stable over their retries.
create table seen (
    generation int not null,
    day        int not null,
    lane       int not null,
    key        uuid not null,
    expires    bigint not null,
    primary key (generation, day, lane, key)
) partition by list (generation);

-- One incident number a project, day and opening; in no generation.
create table incident_number (
    project  text collate "C" not null,
    day      text not null,
    number   int not null,
    incident uuid not null unique,
    opening  text not null,
    primary key (project, day, number)
);

create sequence job_ordinal cache 1;

-- Effects that are asked for. One table, one loop (lanes::job); `queue` is triage or send.
create table job (
    generation  int not null,
    id          uuid not null,
    queue       text not null,
    lane        int not null,
    project     text collate "C" not null,
    incident    uuid not null,
    -- Jobs of one (queue, target, incident) are done in order of `ordinal`; '' where order is free.
    target      text not null default '',
    ordinal     bigint not null default nextval('job_ordinal'),
    -- shadow: never claimed. parked: given up, for an operator. unknown: may have happened.
    state       text not null check (state in ('pending', 'shadow', 'claimed', 'done', 'parked', 'unknown')),
    not_before  timestamptz not null default now(),
    lease_until timestamptz,
    claim       uuid,
    attempts    int not null default 0,
    trigger     text not null,
    payload     bytea not null,
    -- What the effect returned, stored before it is appended to the log.
    result      bytea,
    -- How the job will end once `result` is in the log; stored with it.
    result_end  text check (result_end in ('done', 'parked', 'unknown')),
    reason      text,
    created_at  timestamptz not null default now(),
    settled_at  timestamptz,
    primary key (generation, id)
) partition by list (generation);
create index job_due on job (generation, queue, target, not_before, ordinal) where state in ('pending', 'claimed');
-- With the sends of shadows in it the index also serves those who look for an incident's sends that are
-- still to be done.
create index job_order on job (generation, queue, incident, target, ordinal) where state in ('pending', 'claimed', 'shadow');
-- An incident's analysis, for its messages.
create index job_answer on job (incident) where queue = 'triage';

-- One row a target: its pause and, later, its rate bucket; shared by every notifier.
create table target (
    target     text primary key,
    not_before timestamptz not null default '-infinity'
);

-- What was told, across generations: a second job for the same key sends nothing.
create table sent (
    project text collate "C" not null,
    target  text not null,
    kind    text not null,
    subject text not null,
    trigger text not null,
    job     uuid not null,
    told_at timestamptz not null default now(),
    primary key (project, target, kind, subject, trigger)
);

-- Dead letters; the bytes stay in the log.
create table parked (
    generation int not null,
    stage      text not null,
    lane       int not null,
    inc        bigint not null,
    seq        bigint not null,
    rec        int not null,
    reason     text not null,
    attempts   int not null,
    parked_at  timestamptz not null default now(),
    primary key (generation, stage, lane, inc, seq, rec)
);

-- Who is alive and can own lanes.
create table worker (
    id      uuid primary key,
    stage   text not null,
    beat_at timestamptz not null default now()
);

-- Read models ------------------------------------------------------------------------------------

-- One row an alert (R49-R51).
create table dossier (
    generation           int not null,
    day                  int not null,
    inc                  bigint not null,
    seq                  bigint not null,
    rec                  int not null,
    idx                  int not null,
    event_id             uuid not null,
    record               uuid not null,
    project              text collate "C" not null,
    source               text not null,
    channel_type         text not null,
    provider             text not null,
    stage                text not null,
    provider_event_id    text collate "C" not null,
    title                text not null,
    content_preview      text,
    content_redacted     text,
    has_redacted_content bool not null,
    redaction_version    text,
    source_url           text,
    content_sha256       bytea,
    content_length       bigint,
    source_refs          jsonb not null,
    source_ref_count     int not null,
    sentry_ref_count     int not null,
    signoz_ref_count     int not null,
    alert_ref_count      int not null,
    log_correlation      jsonb not null,
    facts                jsonb not null,
    alertname            text,
    severity             text,
    namespace            text,
    target_resource      text,
    fingerprint          uuid not null,
    recurrence_key       uuid not null,
    effect               text not null,
    is_duplicate         bool not null,
    incident             uuid,
    provider_ts          timestamptz,
    received_at          timestamptz not null,
    primary key (generation, day, inc, seq, rec, idx)
) partition by list (generation);
-- Newest first within a project. The lane day leads the position, with which it never disagrees, so that
-- partitions are read one after the other and a page needs only the newest.
create index dossier_newest on dossier (generation, project, day, inc, seq, rec, idx);
create index dossier_by_sender_id on dossier (generation, project, provider_event_id);

-- One row a delivery: its outcome (R71). The record leads the day in the key: it is looked up alone.
create table delivery (
    generation  int not null,
    day         int not null,
    record      uuid not null,
    inc         bigint not null,
    seq         bigint not null,
    rec         int not null,
    project     text collate "C" not null,
    source      text not null,
    provider    text not null,
    outcome     text not null,
    reason      text,
    alerts      int not null,
    received_at timestamptz not null,
    primary key (generation, record, day)
) partition by list (generation);

-- One row an incident: what the pages show of it.
create table incident (
    generation  int not null,
    project     text collate "C" not null,
    incident    uuid not null,
    fingerprint uuid not null,
    opening     text not null,
    cause       text not null,
    episode     int not null,
    -- open, resolved, suppressed
    status      text not null,
    risk        text not null,
    facts       jsonb not null,
    occurrences bigint not null,
    analysis    jsonb,
    analysed_at timestamptz,
    opened_at   timestamptz not null,
    closed_at   timestamptz,
    updated_at  timestamptz not null,
    primary key (generation, project, incident)
) partition by list (generation);
create index incident_newest on incident (generation, project, opened_at desc);
-- For the home page. No column of it changes while an incident is open, so that repeats stay updates
-- in place.
create index incident_open on incident (generation, project, risk, opened_at) where status = 'open';

-- One row a triage run.
create table run (
    generation  int not null,
    project     text collate "C" not null,
    run         uuid not null,
    incident    uuid not null,
    reason      text not null,
    -- running, completed, failed
    state       text not null,
    agent       text,
    attempts    jsonb not null default '[]',
    latency_ms  bigint,
    started_at  timestamptz not null,
    finished_at timestamptz,
    primary key (generation, project, run)
) partition by list (generation);
create index run_by_incident on run (generation, project, incident);

-- What became of each send.
create table send (
    generation int not null,
    project    text collate "C" not null,
    job        uuid not null,
    incident   uuid,
    target     text not null,
    channel    text not null,
    kind       text not null,
    -- Opening position or digest key, and what caused the message: positions as text.
    subject    text not null,
    trigger    text not null,
    -- delivered, already_told, refused, unknown
    result     text not null,
    detail     text,
    attempts   int not null,
    settled_at timestamptz not null,
    primary key (generation, project, job)
) partition by list (generation);
create index send_by_incident on send (generation, project, incident);

-- Why something was or was not told (I9).
create table notice (
    generation int not null,
    project    text collate "C" not null,
    event_id   uuid not null,
    incident   uuid not null,
    opening    text not null,
    at         text not null,
    -- planned or withheld
    verdict    text not null,
    kind       text,
    receiver   text,
    reason     text,
    rule       text not null,
    rules      text not null,
    lane_time  timestamptz not null,
    primary key (generation, project, event_id)
) partition by list (generation);
create index notice_by_incident on notice (generation, project, incident);

-- One row a recurrence key (R55-R57).
create table recurrence (
    generation         int not null,
    project            text collate "C" not null,
    recurrence_key     uuid not null,
    provider           text not null,
    alertname          text,
    severity           text,
    namespace          text,
    target_resource    text,
    fingerprint        uuid not null,
    latest_event_id    uuid not null,
    latest_provider_event_id text not null,
    latest_content_preview   text,
    latest_incident    uuid,
    occurrence_total   bigint not null,
    -- Events that belong to an incident, each of which is asked for a run.
    linked_total       bigint not null default 0,
    duplicate_total    bigint not null,
    redacted_total     bigint not null,
    source_ref_total   bigint not null,
    missing_source_refs_total bigint not null,
    sentry_ref_total   bigint not null,
    signoz_ref_total   bigint not null,
    alert_ref_total    bigint not null,
    first_received_at  timestamptz not null,
    latest_received_at timestamptz not null,
    primary key (generation, project, recurrence_key)
) partition by list (generation);

-- One row a provider of a project (R52).
create table coverage (
    generation         int not null,
    project            text collate "C" not null,
    provider           text not null,
    total              bigint not null,
    duplicate_total    bigint not null,
    redacted_total     bigint not null,
    source_ref_total   bigint not null,
    missing_source_refs_total bigint not null,
    sentry_ref_total   bigint not null,
    signoz_ref_total   bigint not null,
    alert_ref_total    bigint not null,
    latest_received_at timestamptz not null,
    -- The same without heartbeats and tests, so that they cannot hide a dead sender.
    latest_real_received_at timestamptz,
    primary key (generation, project, provider)
) partition by list (generation);

-- Large values are compressed with lz4 where this Postgres was built with it: half the time of the
-- default. Partitions take it over from here.
do $$
declare
    c record;
begin
    if exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
        for c in select * from (values ('unpublished', 'payload'), ('dossier', 'content_redacted'), ('dossier', 'facts')) as large (t, col) loop
            execute format('alter table %I alter column %I set compression lz4', c.t, c.col);
        end loop;
    end if;
end $$;

-- Partitions -------------------------------------------------------------------------------------

-- Makes the partitions of a generation. Safe to call again.
create function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'run', 'send', 'notice', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    -- Rows that many batches change again stay on their page: with room beside them an update is one
    -- write of what differs, without it every index gets another entry and the log the whole row.
    foreach t in array array['problem', 'incident', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = 60)', t || '_g' || g);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

-- Makes the partitions of one lane day. Safe to call again. The new table is filled with the
-- parent's shape first and attached afterwards, which does not block readers.
create function bw_open_day(g int, d int) returns void language plpgsql as $$
declare
    t text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_day', g));
    foreach t in array array['dossier', 'delivery', 'seen'] loop
        child := t || '_g' || g || '_d' || d;
        if to_regclass(child) is null then
            execute format('create table %I (like %I including all)', child, t || '_g' || g);
            execute format('alter table %I attach partition %I for values from (%s) to (%s)', t || '_g' || g, child, d, d + 1);
        end if;
    end loop;
end $$;

alter table cursor set (fillfactor = 50);
alter table ledger set (fillfactor = 50);
alter table producer set (fillfactor = 50);
alter table lane_state set (fillfactor = 50);

insert into generation (generation, state) values (1, 'active');
select bw_open_generation(1);
