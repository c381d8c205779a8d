-- Which jobs of an identity provider an org lets in without a secret, and as what.
create table trust_rules (
    id          uuid primary key default gen_random_uuid(),
    org_id      uuid not null references orgs (id) on delete cascade,
    name        text not null check (name ~ '^[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?$'),
    issuer      text not null check (length(issuer) <= 500),
    audience    text not null check (length(audience) <= 500),
    subject     text not null check (length(subject) <= 500),   -- '*' stands for anything
    claims      jsonb not null default '{}',                    -- claim to pattern, likewise
    role        text not null check (role in ('admin', 'member', 'ci', 'viewer')),
    satellites  text[] check (cardinality(satellites) between 1 and 100),
    lifetime    interval not null check (lifetime between interval '1 minute' and interval '1 day'),
    once        boolean not null default false,
    created_at  timestamptz not null default now(),
    unique (org_id, name)
);
create index trust_rules_of_issuer on trust_rules (issuer);

-- A token that a rule gave ends with the rule.
alter table tokens add column rule_id uuid references trust_rules (id) on delete cascade;
create index tokens_of_rule on tokens (rule_id) where rule_id is not null;

-- Identity tokens that were used under a rule that takes each of them once.
create table used_assertions (
    issuer      text not null,
    jti         text not null check (length(jti) <= 500),
    expires_at  timestamptz not null,
    primary key (issuer, jti)
);
create index used_assertions_ending on used_assertions (expires_at);
