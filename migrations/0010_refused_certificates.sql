-- Client certificates that are refused although their CA stands: a lost laptop's, say. A node asks
-- for them together with tokens, and learns of a change as it does there.
create table refused_certificates (
    -- lower-case hex: a serial number (40 digits at most, RFC 5280 section 4.1.2.2; the CA's
    -- own word, so another CA of the bundle may have given it too), or the SHA-256 of the
    -- certificate's DER form (64 digits), which is exact
    id          text primary key check (id ~ '^[0-9a-f]{1,40}$|^[0-9a-f]{64}$'),
    reason      text not null default '' check (length(reason) <= 200),
    refused_at  timestamptz not null default now()
);

create trigger refused_certificates_changed after insert or update or delete on refused_certificates
    for each statement execute function tell_access_changed();
