-- Targets that do not answer, and what is certain about a telling.

alter table target
    -- Attempts in a row that had no answer, and since when there are only such.
    add column silent       int not null default 0,
    add column silent_since timestamptz,
    -- Of a target that is silent: when the next attempt may be made, by whichever worker. While one is
    -- made it stands at the end of that attempt's lease.
    add column probe_at     timestamptz;

-- The claim under which it was noted as told. What another claim noted may have been told under it.
alter table sent add column claim uuid;
