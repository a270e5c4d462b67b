-- Open incidents by risk and age, for the home page. No column of it changes while an incident is
-- open, so that repeats stay updates in place.
create index incident_open on incident (generation, project, risk, opened_at) where status = 'open';
