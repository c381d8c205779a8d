-- What a satellite's worker last answered to calls that only look at it: good for as long as the
-- machine is made of the same things, and not worth a wake.
create table worker_answers (
    satellite_id  uuid not null references satellites (id) on delete cascade,
    method        text not null,
    answer        bytea not null check (octet_length(answer) <= 65536),
    answered_at   timestamptz not null default now(),
    primary key (satellite_id, method)
);

create function forget_worker_answers() returns trigger language plpgsql as $$
begin
    delete from worker_answers where satellite_id = new.id;
    return null;
end
$$;

create trigger satellites_made_anew after update on satellites
    for each row
    when ((old.generation, old.size, old.settings) is distinct from
          (new.generation, new.size, new.settings)
          or new.state in ('updating', 'terminated') and new.state <> old.state)
    execute function forget_worker_answers();
