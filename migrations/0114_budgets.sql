-- What an org means to spend in a month (UTC), and what it has spent by the operator's prices. Counted
-- by one router for all; wakes are refused by what is written here, so a wake asks for no prices.
create table budgets (
    org_id        uuid primary key references orgs (id) on delete cascade,
    amount        numeric not null check (amount > 0),
    refuses       boolean not null,
    actor         text not null,
    made_at       timestamptz not null default now(),
    month         date,                        -- its first day: what follows is of that month
    spent         numeric,
    unpriced      double precision,            -- seconds of machines without a price
    currency      text,
    reached       boolean not null default false,
    counted_at    timestamptz,
    near_told     date,                        -- the month in which a notice was written
    reached_told  date
);

-- Satellites that are awake far beyond their own past without builds to show for it. One that is
-- suspended is put to sleep, and does not wake until somebody allows it.
create table runaways (
    satellite_id   uuid primary key references satellites (id) on delete cascade,
    day            date not null,
    found_at       timestamptz not null default now(),
    detail         text not null,
    suspended      boolean not null default false,
    allowed_until  timestamptz                 -- no alarm before
);
create table runaway_choices (
    org_id    uuid references orgs (id) on delete cascade,  -- null: every org that has none of its own
    suspends  boolean not null,
    actor     text not null,
    made_at   timestamptz not null default now()
);
create unique index runaway_choices_of_org
    on runaway_choices (coalesce(org_id, '00000000-0000-0000-0000-000000000000'));
