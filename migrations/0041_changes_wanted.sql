-- Every node asks each second whose machine is to be changed; mostly there is none.
create index satellites_unchanged on satellites (id) where state = 'asleep' and wanted is not null;
