-- Making room: partitions of past days go as a whole, rows of tables without days by their age.

-- What is older than a time, without an entry for each row: rows are appended in the order of time.
create index job_age on job using brin (created_at) with (autosummarize = on);
create index sent_age on sent using brin (told_at) with (autosummarize = on);

-- Drops at most `most` partitions of `t` in generation `g` whose lane day is before `d`, oldest first;
-- returns how many. A drop changes the catalogue and removes files: it takes as long for a day of ten
-- rows as for one of ten million. It locks the table's partitions of this generation: set lock_timeout.
create function bw_drop_days(t text, g int, d int, most int) returns int language plpgsql as $$
declare
    child regclass;
    parent text := t || '_g' || g;
    dropped int := 0;
begin
    if t not in ('dossier', 'delivery', 'seen', 'rejected') then
        raise exception 'table % has no days', t;
    end if;
    for child in
        select i.inhrelid::regclass from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass(parent)
        and substring(c.relname from '_d([0-9]+)$')::int < d
        order by substring(c.relname from '_d([0-9]+)$')::int limit most
    loop
        execute format('alter table %I detach partition %s', parent, child);
        execute format('drop table %s', child);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;
