-- Who changed what, and who was refused for lack of rights. Rows are written once: what an org
-- removed can still be read here, so nothing refers to the org itself.
create table audit (
    id       bigint generated always as identity primary key,
    at       timestamptz not null default now(),
    org      text not null,          -- empty: no org's affair
    actor    text not null,          -- "token:ci", "user:ann/laptop", "operator:ops", "shell:root"
    address  text not null default '',
    action   text not null,          -- "Satellites.Update", "door", "token create"
    target   text not null default '',
    result   text not null,          -- "ok" or a code
    before   jsonb,
    after    jsonb
);
create index audit_of_org on audit (org, id);
create index audit_at on audit (at);

create function audit_stays() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and old.at < now() - interval '30 days' then
        return old;
    end if;
    raise exception 'the audit log is only added to, and kept for 30 days at least';
end
$$;
create trigger audit_stays before update or delete on audit
    for each row execute function audit_stays();
create trigger audit_is_not_emptied before truncate on audit
    for each statement execute function audit_stays();
