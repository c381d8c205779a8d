-- Which clouds a node serves: nodes of one cloud divide its satellites at rest among themselves, to
-- look at them in turn. Null: a node of an older version, which writes down when it looked.
alter table nodes add column provisioners text[];
create index satellites_resting on satellites (provisioner, id)
    where claimed_by is null and state in ('running', 'asleep');
