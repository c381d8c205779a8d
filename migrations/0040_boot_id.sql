-- What the machine itself said at its last wake: another one after each boot.
alter table satellites add column boot_id text;
