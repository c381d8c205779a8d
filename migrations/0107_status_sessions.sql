-- Who is signed in to the status page: what the browser keeps and the token behind it, each as its SHA-256
-- alone. A session shows no more than its token may look at now, and ends with it.
create table status_sessions (
    id          bytea primary key check (octet_length(id) = 32),
    token_hash  bytea not null check (octet_length(token_hash) = 32),
    expires_at  timestamptz not null
);

create index status_sessions_token on status_sessions (token_hash, expires_at);
create index status_sessions_expires on status_sessions (expires_at);
