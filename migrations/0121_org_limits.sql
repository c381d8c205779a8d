-- What an org's satellites may cost at most. No row, or a null: as much as they like.
create table org_limits (
    org_id          uuid primary key references orgs (id) on delete cascade,
    machines        int check (machines >= 0),        -- satellites there are
    awake           int check (awake >= 0),           -- satellites awake, or on their way
    wakes_per_hour  int check (wakes_per_hour >= 0),  -- of one satellite
    set_by          text not null,
    set_at          timestamptz not null default now()
);

-- Why a satellite of the org cannot be woken, or a new one launched (`satellite` is null then); null if
-- it can. It locks the org's limits first and counts with a snapshot that is taken after that, so of
-- many that ask at once as many pass as there is room for.
create function limit_reached(org uuid, satellite uuid) returns text
language plpgsql volatile as $$
declare
    most org_limits;
    there bigint;
begin
    select * into most from org_limits where org_id = org for update;
    if not found then
        return null;
    end if;
    if satellite is null and most.machines is not null then
        select count(*) into there from satellites
        where org_id = org and state not in ('terminating', 'terminated');
        if there >= most.machines then
            return format('%s satellites, %s at most', there, most.machines);
        end if;
    end if;
    if most.awake is not null then
        select count(*) into there from satellites
        where org_id = org and state in ('launching', 'waking', 'running');
        if there >= most.awake then
            return format('%s satellites awake, %s at most', there, most.awake);
        end if;
    end if;
    if satellite is not null and most.wakes_per_hour is not null then
        select count(*) into there from transitions
        where satellite_id = satellite and event = 'wake' and at > now() - interval '1 hour';
        if there >= most.wakes_per_hour then
            return format('%s wakes in an hour, %s at most', there, most.wakes_per_hour);
        end if;
    end if;
    return null;
end
$$;
