-- The requests that wait at each node, as it told last: a row a node, written while somebody waits or has
-- just stopped (`store/holds.py`). `held` is [[satellite, caller, requests, seconds], ...], the oldest first.
create table node_holds (
    node_id  uuid primary key references nodes (id) on delete cascade,
    held     jsonb not null,
    told_at  timestamptz not null default now()
);
