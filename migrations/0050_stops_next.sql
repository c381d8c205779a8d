-- Its next sleep is a stop: a cloud that keeps memory only for so long starts counting anew then.
alter table satellites add column stops_next boolean not null default false;
