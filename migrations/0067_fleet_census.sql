-- How many satellites are in which state, and how many machines are strays: counted by one node for
-- all, since metrics are read from each of them.
create table fleet_census (
    one         boolean primary key default true check (one),
    counted_at  timestamptz not null,
    states      jsonb not null,
    strays      jsonb not null
);
