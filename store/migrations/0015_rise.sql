-- An incident is as bad as its worst alert, and says what that one said.
create type incident_change_row_3 as (
    project text, incident uuid, occurrences bigint, status text, closed_at timestamptz, analysis jsonb,
    analysed_at timestamptz, updated_at timestamptz, risk text, level text, frequency jsonb, flapping bool,
    silenced bool, silenced_until timestamptz, facts jsonb
);
