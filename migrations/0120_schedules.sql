-- A satellite's schedule: hours in which it is kept awake ("Mon-Fri 08:00-19:00 Europe/Prague"), as
-- its owner wrote them. What they mean just now is worked out by a node, when `schedule_due` says.
alter table satellites
    add column schedule      text not null default '',
    add column awake_until   timestamptz,  -- kept awake until then
    add column schedule_due  timestamptz;  -- when hours begin or end next

create index satellites_schedule_due on satellites (schedule_due);
-- Every node asks each second whose wake for its schedule has failed; mostly there is none.
create index satellites_schedule_failed on satellites (awake_until)
    where state = 'asleep' and failure is not null;
