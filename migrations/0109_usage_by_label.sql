-- What a team costs goes by the labels of its satellites, and goes on doing so when they are gone: a day
-- keeps the labels that its satellite had when it was last counted. Days before this are taken for days
-- of the labels of now.
alter table satellite_days add column labels jsonb not null default '{}';
update satellite_days set labels = satellites.labels
    from satellites where satellites.id = satellite_id and satellites.labels <> '{}';

create or replace function count_state() returns trigger language plpgsql as $$
begin
    insert into satellite_days as known (satellite_id, day, org_id, name, provisioner, size,
        labels, launching, running, sleeping, asleep, waking, updating, failed, terminating)
    select old.id, passed.day, old.org_id, old.name, old.provisioner, old.size,
        old.labels,
        case old.state when 'launching' then passed.seconds else 0 end,
        case old.state when 'running' then passed.seconds else 0 end,
        case old.state when 'sleeping' then passed.seconds else 0 end,
        case old.state when 'asleep' then passed.seconds else 0 end,
        case old.state when 'waking' then passed.seconds else 0 end,
        case old.state when 'updating' then passed.seconds else 0 end,
        case old.state when 'failed' then passed.seconds else 0 end,
        case old.state when 'terminating' then passed.seconds else 0 end
    from days_of(old.state_since, new.state_since) as passed
    on conflict (satellite_id, day, provisioner, size) do update set
        labels = excluded.labels,
        launching = known.launching + excluded.launching,
        running = known.running + excluded.running,
        sleeping = known.sleeping + excluded.sleeping,
        asleep = known.asleep + excluded.asleep,
        waking = known.waking + excluded.waking,
        updating = known.updating + excluded.updating,
        failed = known.failed + excluded.failed,
        terminating = known.terminating + excluded.terminating;
    if new.state = 'running' and old.state in ('waking', 'launching') then
        insert into satellite_days as known (satellite_id, day, org_id, name,
            provisioner, size, labels, resumed, started, launched)
        values (new.id, (new.state_since at time zone 'UTC')::date, new.org_id, new.name,
            new.provisioner, new.size, new.labels,
            (new.wake_kind is not distinct from 'resumed')::int,
            (new.wake_kind is not distinct from 'started')::int,
            (new.wake_kind is not distinct from 'launched')::int)
        on conflict (satellite_id, day, provisioner, size) do update set
            labels = excluded.labels,
            resumed = known.resumed + excluded.resumed,
            started = known.started + excluded.started,
            launched = known.launched + excluded.launched;
    end if;
    return null;
end
$$;
