-- Who may come in. A token is shown once and kept only as its SHA-256: it has 256 random bits,
-- so a slow hash would add cost at the door and no safety.
create table orgs (
    id          uuid primary key default gen_random_uuid(),
    name        text not null unique check (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    created_at  timestamptz not null default now()
);

create table tokens (
    id          uuid primary key default gen_random_uuid(),
    org_id      uuid not null references orgs (id) on delete cascade,
    name        text not null check (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    hash        bytea not null unique check (octet_length(hash) = 32),
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);

-- a revoked token's name may be given again: its history stays
create unique index tokens_name on tokens (org_id, name) where revoked_at is null;

-- Nodes remember what a token may do. They ask again every half second; this tells them at once.
create function tell_access_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('torpor_access', '');
    return null;
end
$$;

create trigger tokens_changed after update or delete on tokens
    for each statement execute function tell_access_changed();
create trigger orgs_changed after update or delete on orgs
    for each statement execute function tell_access_changed();
