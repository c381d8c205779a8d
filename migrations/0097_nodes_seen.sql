-- What a node tells of itself with each heartbeat, and what an operator wants of it. All null: a node of
-- an older version, which obeys nothing here.
alter table nodes
    add column version  text,
    add column listens  text,
    add column phase    text,
    add column streams  int,
    add column lag      double precision,  -- seconds, the worst since the heartbeat before
    add column drain    text check (drain in ('drain', 'end'));
