-- What happened that people want to be told of. A notice is written by the statement that makes it
-- happen, and with it who is to get it; any node delivers it later. Nothing here waits for another's
-- lock, since a wake may be what writes it: deliveries refer to no row of `webhooks`.
create table webhooks (
    id             uuid primary key,
    org_id         uuid references orgs (id) on delete cascade,  -- null: the operators'
    name           text not null check (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    format         text not null check (format in ('json', 'slack')),
    kinds          text[] check (cardinality(kinds) > 0),        -- null: every kind
    host           text not null,                                -- of its address, for people
    sealed         bytea not null,                               -- its address and secret, encrypted
    made_at        timestamptz not null default now(),
    failures       int not null default 0,                       -- deliveries that failed in a row
    next_at        timestamptz not null default now(),           -- nothing is sent before
    claim          uuid,                                         -- of the node that sends now
    claimed_until  timestamptz,
    tried_at       timestamptz,
    result         text not null default ''                      -- of the last delivery
);
create unique index webhooks_name
    on webhooks (coalesce(org_id, '00000000-0000-0000-0000-000000000000'), name);

create table notices (
    id         uuid primary key default gen_random_uuid(),
    number     bigint generated always as identity,              -- in the order that they were written
    at         timestamptz not null default now(),
    org_id     uuid,                                             -- null: the operators' affair
    satellite  text not null default '',                         -- its name
    kind       text not null,
    about      text not null,                                    -- the same again within a while is left out
    failure    text not null                                     -- "TPR-2205 ...", a code and its detail
);
create index notices_about on notices (kind, about, at);
create index notices_at on notices (at);

create table notice_deliveries (
    webhook_id  uuid not null,
    notice_id   uuid not null references notices (id) on delete cascade,
    number      bigint not null,
    state       text not null default 'waiting',                 -- delivered, given up, left out
    tries       int not null default 0,
    next_at     timestamptz not null default now(),
    tried_at    timestamptz,
    result      text not null default '',
    primary key (webhook_id, notice_id)
);
create index notice_deliveries_waiting on notice_deliveries (webhook_id, number) where state = 'waiting';
create index notice_deliveries_of on notice_deliveries (notice_id);

-- Writes a notice and its deliveries, unless there was the same within `pause`. Of those that wait for
-- one webhook there are 1,000 at most: the rest is seen in its list, and not sent.
create function add_notice(what text, org uuid, satellite_name text, same text, text_of_it text,
    pause interval) returns uuid language sql as $$
    with added as (
        insert into notices (kind, org_id, satellite, about, failure)
        select what, org, satellite_name, same, text_of_it
        where not exists (select from notices as before
            where before.kind = what and before.about = same
                and before.at between now() - pause and now() + pause)
        returning id, number
    ), told as (
        insert into notice_deliveries (webhook_id, notice_id, number, state)
        select webhooks.id, added.id, added.number,
            case when (select count(*) from notice_deliveries as waiting
                where waiting.webhook_id = webhooks.id and waiting.state = 'waiting') < 1000
            then 'waiting' else 'left out' end
        from added, webhooks
        where (webhooks.org_id is null or webhooks.org_id = org)
            and (webhooks.kinds is null or what = any(webhooks.kinds))
    )
    select id from added
$$;

-- The cloud, the host or the account has no room: the codes of `Capacity` and `Quota`, of all
-- provisioners
create function is_capacity(failure text) returns boolean language sql immutable as $$
    select left(failure, 8) = any('{TPR-2202,TPR-2204,TPR-2212,TPR-2216,TPR-2217,TPR-2220}'::text[])
$$;

create function notice_of_transition() returns trigger language plpgsql as $$
declare
    it record;
begin
    select org_id, name, coalesce(failure, new.detail) as failure into it
        from satellites where id = new.satellite_id;
    perform add_notice(
        case when new.event = 'lost' then 'machine.lost'
            when is_capacity(it.failure) then 'capacity' else 'wake.failed' end,
        it.org_id, it.name, format('%s %s', new.satellite_id, left(it.failure, 8)), it.failure,
        interval '1 hour');
    return null;
end
$$;
create trigger transitions_noticed after insert on transitions for each row
    when (new.event in ('wake_failed', 'wake_refused', 'launch_failed', 'lost'))
    execute function notice_of_transition();

-- A wake that waits for room goes on: nothing has failed yet
create function notice_of_obstacle() returns trigger language plpgsql as $$
begin
    perform add_notice('capacity', new.org_id, new.name,
        format('%s %s', new.id, left(new.obstacle, 8)), new.obstacle, interval '1 hour');
    return null;
end
$$;
create trigger satellites_obstructed after update of obstacle on satellites for each row
    when (new.obstacle is not null and old.obstacle is distinct from new.obstacle
        and is_capacity(new.obstacle))
    execute function notice_of_obstacle();

-- A search finds many at once
create function notice_of_strays() returns trigger language plpgsql as $$
begin
    perform add_notice('machine.stray', null, '', found.provisioner,
        format('TPR-2049 of %s: %s', found.provisioner, found.shown), interval '1 hour')
    from (select provisioner, string_agg(ref, ', ' order by ref) filter (where place <= 5)
            || case when count(*) > 5 then format(' and %s more', count(*) - 5) else '' end as shown
        from (select provisioner, ref, row_number() over (partition by provisioner order by ref) as place
            from new_strays) as numbered
        group by provisioner) as found;
    return null;
end
$$;
create trigger strays_noticed after insert on strays referencing new table as new_strays
    for each statement execute function notice_of_strays();
