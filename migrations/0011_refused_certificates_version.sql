-- Nodes end the open connections of a certificate that is refused. They ask every half second
-- whether there is anything new, however many certificates are open or refused: for one number.
-- A sequence would not do, for its next value is seen before the change is.
create table refused_certificates_version (
    one  boolean primary key default true check (one),
    n    bigint not null
);
insert into refused_certificates_version (n) values (0);

create function count_refused_change() returns trigger language plpgsql as $$
begin
    update refused_certificates_version set n = n + 1;
    return null;
end
$$;

create trigger refused_certificates_counted after insert or update or delete on refused_certificates
    for each statement execute function count_refused_change();
