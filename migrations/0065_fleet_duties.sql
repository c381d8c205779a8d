-- What one node does for the whole fleet: when it was last begun, by whichever node.
create table fleet_duties (
    name      text primary key,
    begun_at  timestamptz not null
);
-- A search for orphans and strays goes through the cloud's machines a part at a time: what it has
-- not seen when it is over is gone.
alter table orphans add column seen_at timestamptz not null default now();
alter table strays add column seen_at timestamptz not null default now();
