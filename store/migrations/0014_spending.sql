-- What analysts answered, to be found again, and what asking them may still cost.

-- One row an answer that took effect in a fold, in no generation (I7): whoever would ask the same again
-- takes it from here and asks nobody.
create table answer (
    opening text not null,
    -- open, escalate, request n, reject n
    reason  text not null,
    -- Version of the prompt, and the model; '' where none was needed, or nobody had an answer.
    prompt  text not null,
    model   text not null,
    project text collate "C" not null,
    -- Where its record stands in the log, with all that was told.
    inc     bigint not null,
    seq     bigint not null,
    rec     int not null,
    -- CBOR: the analysis, who was asked, and what it cost.
    result  bytea not null,
    made_at timestamptz not null default now(),
    primary key (opening, reason, prompt, model)
);
create index answer_age on answer using brin (made_at);

-- What was spent on an analyst in an hour of this server's clock, for one project and, as '', for all of
-- them. Taken before a call by an estimate and put right after it, by every worker.
create table spending (
    analyst     text not null,
    project     text collate "C" not null,
    hour        timestamptz not null,
    calls       bigint not null,
    tokens      bigint not null,
    -- Millionths of the currency that prices are configured in.
    cost_micros bigint not null,
    primary key (analyst, project, hour)
) with (fillfactor = 50);
