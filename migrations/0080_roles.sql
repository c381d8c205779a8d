-- What callers may do. A token made before this one has no role and may do everything, as it could;
-- the version before reads neither column, so a token is narrow only where every router is new.

-- People and services of an org. Their tokens may never do more than they may.
create table members (
    id          uuid primary key default gen_random_uuid(),
    org_id      uuid not null references orgs (id) on delete cascade,
    name        text not null check (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    kind        text not null check (kind in ('user', 'service')),
    role        text not null check (role in ('admin', 'member', 'ci', 'viewer')),
    created_at  timestamptz not null default now(),
    removed_at  timestamptz
);
create unique index members_name on members (org_id, name) where removed_at is null;
create trigger members_changed after update or delete on members
    for each statement execute function tell_access_changed();

-- An operator's token is of no org.
alter table tokens
    alter column org_id drop not null,
    add column role text check (role in ('operator', 'admin', 'member', 'ci', 'viewer')),
    -- names of the org's satellites, made or to be made; null is every one
    add column satellites text[] check (cardinality(satellites) between 1 and 100),
    add column member_id uuid references members (id) on delete cascade,
    -- whom an identity provider named, where the token stands for one of its own
    add column subject text check (length(subject) <= 500),
    add constraint tokens_of_operators
        check ((org_id is null) = (role is not distinct from 'operator'));
create unique index tokens_name_of_operators on tokens (name)
    where org_id is null and revoked_at is null;
create index tokens_of_member on tokens (member_id) where member_id is not null;

-- Apart from the tokens, because each change of those is told to every node.
create table token_uses (
    token_id  uuid primary key references tokens (id) on delete cascade,
    used_at   timestamptz not null
);

-- What a client certificate may do. One that is not here has the role 'ci'. One that was got with
-- a token has no right that the token has not, and ends with it.
create table issued_certificates (
    fingerprint  text primary key check (fingerprint ~ '^[0-9a-f]{64}$'),  -- SHA-256 of the DER form
    org_id       uuid not null references orgs (id) on delete cascade,
    role         text not null check (role in ('admin', 'member', 'ci', 'viewer')),
    token_id     uuid references tokens (id) on delete cascade,
    issued_at    timestamptz not null default now()
);
create trigger issued_certificates_changed
    after insert or update or delete on issued_certificates
    for each statement execute function tell_access_changed();
