-- What an operator sees of the certificates that Torpor's own CA has issued. Such a certificate says
-- that it needs its record here (routing.Certificate.recorded): without one it lets nobody in.
alter table issued_certificates
    add column serial     text check (serial ~ '^[0-9a-f]{1,40}$'),
    add column subject    text check (length(subject) <= 64),
    add column satellite  text,
    add column expires_at timestamptz;
create index issued_certificates_ended on issued_certificates (expires_at);
