-- Whether a batch may be committed; asked last in the one statement that writes it (I3). What
-- refuses raises, so that nothing of the statement stays.
create function bw_may_commit(
  moved bigint, generation_state text, frozen_inc bigint, frozen_seq bigint,
  last_inc bigint, last_seq bigint
) returns boolean language plpgsql as $$
begin
  if generation_state is null or generation_state not in ('active', 'frozen', 'shadow') then
    raise exception 'the generation is %', coalesce(generation_state, 'not there')
      using errcode = 'BW003';
  end if;
  if moved <> 1 then
    raise exception 'the cursor has moved' using errcode = 'BW001';
  end if;
  if (last_inc, last_seq) > (frozen_inc, frozen_seq) then
    raise exception 'the batch goes beyond where the generation is frozen'
      using errcode = 'BW002';
  end if;
  return true;
end
$$;
