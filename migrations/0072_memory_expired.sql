-- It was stopped because its cloud would keep its memory no longer, and has not been awake since.
alter table satellites add column memory_expired boolean not null default false;
