-- What became of a telling, what is spent of a target's budget, and which jobs somebody waits for.

alter table sent
    -- The receiver took it; absent while that is not known.
    add column delivered_at timestamptz,
    -- It was definitely not taken at the last attempt, so nobody was told; the same or another job may.
    add column refused_at   timestamptz,
    -- What the receiver calls the message, where it says so.
    add column message      text,
    -- A hash of what the message shows, and whether it has an analysis.
    add column shown        uuid,
    add column analysed     bool not null default false;
-- Each row is updated once or twice after it is made.
alter table sent set (fillfactor = 80);

-- Messages a target takes at once, as of a time by this server's clock. The rate is configuration and
-- comes with each claim. Below zero: more was spent than there was, for what could not wait.
alter table target
    add column tokens    float8,
    add column filled_at timestamptz;

-- Somebody waits for it: among the due jobs of a target it goes first.
alter table job add column urgent bool not null default false;
drop index job_due;
create index job_due on job (generation, queue, target, urgent, not_before, ordinal) where state in ('pending', 'claimed');
-- What an operator has to look at.
create index job_given_up on job (generation, queue, settled_at) where state in ('parked', 'unknown');
