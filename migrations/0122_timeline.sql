-- The timeline of the server that wrote a satellite's state, or was told that its machine is so. Each
-- promotion of a standby, and each restore, begins a new one; a restart does not. Empty: from before
-- this column.
alter table satellites add column timeline text not null default '';
create function server_timeline() returns text
language sql stable as $$
    select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
$$;
