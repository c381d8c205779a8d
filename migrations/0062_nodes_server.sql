-- Which server a node last beat at, by its start: after a failover each node that lives must find out
-- what is missing there of its leases, before anything idle is believed to be so. Null: a node of an
-- older version.
alter table nodes add column server timestamptz;
create function server_settled() returns boolean
language sql stable as $$
    select not exists (
        select from nodes where leases_until > now() and server <> pg_postmaster_start_time()
    )
$$;
