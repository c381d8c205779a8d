-- What stands in the way of a transition that is under way, for whoever waits for it.
alter table satellites add column obstacle text;
