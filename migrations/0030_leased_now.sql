-- Whether a node other than `but_for` has a lease on the satellite now. A volatile function sees with
-- a new snapshot: called in the very statement that has waited for the satellite's row, it sees
-- leases that were not there when the statement began. So no client stands between the lock and
-- the look, and one that vanishes leaves no lock behind.
create function leased_now(satellite uuid, but_for uuid default null) returns boolean
language plpgsql volatile as $$
begin
    return exists (
        select from leases
        where satellite_id = satellite and node_id is distinct from but_for
    );
end
$$;
