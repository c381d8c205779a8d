-- No satellite of an org, or of any, is put to sleep for being idle until then: an operator is at work
-- on the cloud, say. A pause ends by itself.
create table sleep_pauses (
    org_id   uuid references orgs (id) on delete cascade,  -- null: every org
    until    timestamptz not null,
    reason   text not null check (length(reason) between 1 and 200),
    actor    text not null,
    made_at  timestamptz not null default now()
);
create unique index sleep_pauses_of_org
    on sleep_pauses (coalesce(org_id, '00000000-0000-0000-0000-000000000000'));
