-- An incident that was opened again needs somebody as one that was just opened does.
drop index incident_open;
create index incident_open on incident (generation, project, risk, opened_at) where status in ('open', 'reopened');
