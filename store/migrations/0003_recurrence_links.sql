-- How many events of a recurrence key belong to an incident, each of which is asked for a run.
alter table recurrence add column linked_total bigint not null default 0;
