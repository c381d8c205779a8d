-- The fleet. `epoch` is raised by every claim and named by every later write of that transition:
-- a node that lost its claim changes nothing.
create table nodes (
    id            uuid primary key,          -- random at every start, never the host's name
    term          bigint generated always as identity,
    started_at    timestamptz not null default now(),
    expires_at    timestamptz not null       -- moved on by each heartbeat
);

create table satellites (
    id              uuid primary key default gen_random_uuid(),
    org_id          uuid not null references orgs (id),
    name            text not null check (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    provisioner     text not null,
    arch            text not null check (arch in ('x86_64', 'arm64')),
    size            text not null default '',
    settings        jsonb not null default '{}',
    sleep_mode      text not null default 'auto' check (sleep_mode in ('auto', 'hibernate', 'stop')),
    sleep_after     interval not null default '30 minutes' check (sleep_after > '0'),
    created_at      timestamptz not null default now(),

    state           text not null,
    state_since     timestamptz not null default now(),
    epoch           bigint not null default 0,
    claimed_by      uuid,                    -- a node's id; that node may be long gone
    claim_deadline  timestamptz,             -- by this database's clock
    generation      int not null default 1,  -- rises with each new machine
    ref             text,                    -- the provisioner's name for the machine
    host            text,
    port            int,
    sleep_kind      text check (sleep_kind in ('hibernated', 'stopped')),
    wake_requested  boolean not null default false,  -- a wake that came while falling asleep
    idle_since      timestamptz,             -- null while a lease is live
    failure         text,

    check ((claimed_by is null) = (claim_deadline is null))
);

create unique index satellites_name on satellites (org_id, name) where state <> 'terminated';

create table leases (
    satellite_id  uuid not null references satellites (id) on delete cascade,
    node_id       uuid not null references nodes (id) on delete cascade,
    taken_at      timestamptz not null default now(),
    primary key (satellite_id, node_id)
);

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
