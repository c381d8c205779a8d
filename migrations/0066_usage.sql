-- What each satellite was on each day (UTC): the log of transitions may be pruned, and satellites that
-- are gone with it, for all of it is counted here in the very transaction that changes a state. The
-- state that a satellite is in now is not in yet: see `days_of` and store/usage.py.
create table satellite_days (
    satellite_id  uuid not null,             -- no reference: this outlives the satellite
    day           date not null,
    org_id        uuid not null,
    name          text not null,
    -- seconds in each state
    launching     float8 not null default 0,
    running       float8 not null default 0,
    sleeping      float8 not null default 0,
    asleep        float8 not null default 0,
    waking        float8 not null default 0,
    updating      float8 not null default 0,
    failed        float8 not null default 0,
    terminating   float8 not null default 0,
    -- how often it came to run, by the kind of wake
    resumed       int not null default 0,
    started       int not null default 0,
    launched      int not null default 0,
    primary key (satellite_id, day)
) with (fillfactor = 80);
create index satellite_days_day on satellite_days (day);

-- Streams that began and seconds for which requests were held, as nodes tell them every few seconds.
create table satellite_hours (
    satellite_id  uuid not null,
    hour          timestamptz not null,
    streams       bigint not null default 0,
    held          float8 not null default 0,
    primary key (satellite_id, hour)
) with (fillfactor = 80);
create index satellite_hours_hour on satellite_hours (hour);
-- What a node has told last, by number: what it tells again because the answer was lost counts once.
alter table nodes add column counted bigint not null default 0;

-- The time from `since` to `until`, a row for each day (UTC) that has some of it. A clock that was set
-- back in between leaves nothing.
create function days_of(since timestamptz, until timestamptz)
returns table (day date, seconds float8) language sql immutable as $$
    select d::date, extract(epoch from
        least(until at time zone 'UTC', d + interval '1 day')
        - greatest(since at time zone 'UTC', d))::float8
    from generate_series(
        date_trunc('day', since at time zone 'UTC'),
        until at time zone 'UTC' - interval '1 microsecond',
        interval '1 day') as d
    where until > since
$$;

create function count_state() returns trigger language plpgsql as $$
begin
    insert into satellite_days as known (satellite_id, day, org_id, name, launching, running, sleeping,
        asleep, waking, updating, failed, terminating)
    select old.id, passed.day, old.org_id, old.name,
        case old.state when 'launching' then passed.seconds else 0 end,
        case old.state when 'running' then passed.seconds else 0 end,
        case old.state when 'sleeping' then passed.seconds else 0 end,
        case old.state when 'asleep' then passed.seconds else 0 end,
        case old.state when 'waking' then passed.seconds else 0 end,
        case old.state when 'updating' then passed.seconds else 0 end,
        case old.state when 'failed' then passed.seconds else 0 end,
        case old.state when 'terminating' then passed.seconds else 0 end
    from days_of(old.state_since, new.state_since) as passed
    on conflict (satellite_id, day) do update set
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
            resumed, started, launched)
        values (new.id, (new.state_since at time zone 'UTC')::date, new.org_id, new.name,
            (new.wake_kind is not distinct from 'resumed')::int,
            (new.wake_kind is not distinct from 'started')::int,
            (new.wake_kind is not distinct from 'launched')::int)
        on conflict (satellite_id, day) do update set
            resumed = known.resumed + excluded.resumed,
            started = known.started + excluded.started,
            launched = known.launched + excluded.launched;
    end if;
    return null;
end
$$;
create trigger satellites_counted after update of state on satellites
    for each row when (old.state is distinct from new.state) execute function count_state();

-- What is pruned after its time: see upkeep/pruner.py.
create index transitions_at on transitions (at, id);
create index satellites_terminated on satellites (state_since) where state = 'terminated';
