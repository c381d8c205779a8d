-- Every node asks each second who was wanted while falling asleep; mostly there is nobody.
create index satellites_wanted on satellites (id) where state = 'asleep' and wake_requested;
