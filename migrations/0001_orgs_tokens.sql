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
    name        text not null,
    hash        bytea not null unique check (octet_length(hash) = 32),
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    unique (org_id, name)
);
