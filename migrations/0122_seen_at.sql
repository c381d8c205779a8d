-- When the machine was last compared with a row that a failover may have taken back in time, and was
-- as the row says. See `PROVED` in store/leases.py.
alter table satellites add column seen_at timestamptz;
