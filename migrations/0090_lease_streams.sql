-- What keeps a satellite awake, as the node that holds the lease has reported it last: how many streams are
-- open, and of the oldest of them whose they are (`store/keeping.py`). Null: nothing reported yet, or a node
-- of an older version.
alter table leases add column streams jsonb;
alter table leases add column reported_at timestamptz;
