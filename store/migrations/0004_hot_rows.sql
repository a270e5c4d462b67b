-- Rows that many batches change again stay on their page: with room beside them an update is one
-- write of what differs, without it every index gets another entry and the log the whole row.

create or replace function bw_open_generation(g int) returns void language plpgsql as $$
declare
    t text;
begin
    perform pg_advisory_xact_lock(hashtextextended('bw_open_generation', g));
    foreach t in array array['problem', 'opening', 'job', 'incident', 'run', 'send', 'notice', 'recurrence', 'coverage'] loop
        execute format('create table if not exists %I partition of %I for values in (%s)', t || '_g' || g, t, g);
    end loop;
    foreach t in array array['problem', 'incident', 'recurrence', 'coverage'] loop
        execute format('alter table %I set (fillfactor = 60)', t || '_g' || g);
    end loop;
    foreach t in array array['dossier', 'delivery', 'seen'] loop
        execute format('create table if not exists %I partition of %I for values in (%s) partition by range (day)', t || '_g' || g, t, g);
    end loop;
end $$;

-- Generations that were opened before.
select bw_open_generation(generation) from generation where state <> 'dropped';

alter table cursor set (fillfactor = 50);
alter table ledger set (fillfactor = 50);
alter table producer set (fillfactor = 50);
alter table lane_state set (fillfactor = 50);

-- With the sends of shadows in it the index also serves those who look for an incident's sends that
-- are still to be done.
drop index job_order;
create index job_order on job (generation, queue, incident, target, ordinal) where state in ('pending', 'claimed', 'shadow');
