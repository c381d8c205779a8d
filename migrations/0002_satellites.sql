-- The fleet. `epoch` is raised by every claim and named by every later write of that transition:
-- a node that lost its claim changes nothing. Every deadline here is by this database's clock.
create table nodes (
    id            uuid primary key,          -- random at every start, never the host's name
    term          bigint generated always as identity,
    started_at    timestamptz not null default now(),
    expires_at    timestamptz not null,      -- its claims may be taken over after this
    leases_until  timestamptz not null       -- its leases count until this
);

create table satellites (
    id              uuid primary key default gen_random_uuid(),
    org_id          uuid not null references orgs (id),
    name            text not null check (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    provisioner     text not null,
    arch            text not null check (arch in ('x86_64', 'arm64')),
    size            text not null default '',
    settings        jsonb not null default '{}',
    wanted          jsonb,                   -- the size and settings of an update that is under way
    sleep_mode      text not null default 'auto' check (sleep_mode in ('auto', 'hibernate', 'stop')),
    sleep_after     interval not null default '30 minutes' check (sleep_after > '0'),
    created_at      timestamptz not null default now(),

    state           text not null,
    state_since     timestamptz not null default now(),
    epoch           bigint not null default 0,
    claimed_by      uuid,                    -- a node's id; that node may be long gone
    claim_deadline  timestamptz,
    generation      int not null default 1,  -- rises with each new machine
    ref             text,                    -- the provisioner's name for the machine
    host            text,
    port            int,

    sleep_kind      text check (sleep_kind in ('hibernated', 'stopped')),
    sleep_called    boolean not null default false,  -- this sleep can no longer be abandoned
    wake_requested  boolean not null default false,  -- a wake that came while falling asleep
    wake_kind       text,                    -- of the last wake
    usual_wake      interval,                -- slowest of the recent wakes, forgotten by tenths
    idle_since      timestamptz,             -- null while a lease is live
    sleep_due       timestamptz,             -- idle_since + sleep_after, kept for its index

    failure         text,                    -- "TPR-2205 ..." of the last thing that went wrong
    failures        int not null default 0,  -- failed wakes in a row
    retry_at        timestamptz,             -- no wake is tried before this
    checked_at      timestamptz not null default now(),  -- last compared with the cloud

    check ((claimed_by is null) = (claim_deadline is null)),
    check ((idle_since is null) = (sleep_due is null))
);

create unique index satellites_name on satellites (org_id, name) where state <> 'terminated';
create index satellites_sleep_due on satellites (sleep_due) where state = 'running';
create index satellites_claimed on satellites (claim_deadline) where claimed_by is not null;
create index satellites_checked on satellites (checked_at)
    where claimed_by is null and state in ('running', 'asleep');

create table leases (
    satellite_id  uuid not null references satellites (id) on delete cascade,
    node_id       uuid not null references nodes (id) on delete cascade,
    taken_at      timestamptz not null default now(),
    primary key (satellite_id, node_id)
);

create index leases_node on leases (node_id);

create table transitions (
    id            bigint generated always as identity primary key,
    satellite_id  uuid not null references satellites (id) on delete cascade,
    epoch         bigint not null,
    event         text not null,
    source        text not null,
    target        text not null,
    at            timestamptz not null default now(),
    node_id       uuid,
    actor         text not null default '',
    reason        text not null default '',
    wake_kind     text,
    took          interval,
    detail        text not null default ''
);

create index transitions_satellite on transitions (satellite_id, id desc);

-- Machines that carry our tag and belong to no satellite. They are ended when seen a second time.
create table orphans (
    provisioner  text not null,
    ref          text not null,
    first_seen   timestamptz not null default now(),
    primary key (provisioner, ref)
);

-- Nodes hear of every change of state. Notifying takes a lock that all commits which notify share,
-- so it happens here, where a machine moves, and never where a lease is taken.
create function tell_transition() returns trigger language plpgsql as $$
begin
    perform pg_notify('torpor', format('%s %s %s', new.satellite_id, new.target, new.epoch));
    return null;
end
$$;

create trigger transitions_told after insert on transitions
    for each row execute function tell_transition();
