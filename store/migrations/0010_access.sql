-- Tokens that receivers grant to an app, one for all processes (R39).
create table access (
    -- The app and its credentials: derived from both, and tells neither.
    app         uuid primary key,
    -- The channel that asked last, for whoever reads this.
    target      text not null,
    -- How often a token was granted: names the one that stands here.
    turn        bigint not null default 0,
    -- The token under a key derived from the credentials, which stand in no table (I8).
    sealed      bytea,
    use_until   timestamptz not null default '-infinity',
    -- Who asks just now.
    claim       uuid,
    -- Nobody else asks before: somebody does, or the receiver wants quiet.
    quiet_until timestamptz not null default '-infinity',
    -- How often it was asked in vain since the last grant.
    failures    int not null default 0
);
