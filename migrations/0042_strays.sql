-- Machines that carry our tag, of satellites that were never in this database: another one's, or
-- this one's from before it was restored, or from before a failover that lost their rows. They are
-- left alone until an operator adopts or ends them.
create table strays (
    provisioner   text not null,
    ref           text not null,
    satellite_id  uuid not null,
    generation    int not null,
    first_seen    timestamptz not null default now(),
    ending        boolean not null default false,  -- an operator has said so
    primary key (provisioner, ref)
);
