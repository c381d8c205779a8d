-- Words of an owner's own on a satellite, to choose by: team=web.
alter table satellites add column labels jsonb not null default '{}';
