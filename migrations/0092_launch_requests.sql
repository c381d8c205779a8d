-- What a client calls one wish for a satellite, so that the wish may be repeated: it makes one satellite.
alter table satellites add column request_id text;
create unique index satellites_request on satellites (org_id, request_id) where request_id is not null;
