-- An org that was removed keeps its row for as long as its satellites have a history: as NAME~ID, which
-- nobody can write. Its name is free for another.
alter table orgs drop constraint orgs_name_check;
alter table orgs add constraint orgs_name_check
    check (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?(~[0-9a-f]{8})?$');
