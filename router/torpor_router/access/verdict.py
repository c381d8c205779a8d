"""What the database knows of a request's credentials and satellite, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.access.ca.errors import NotOnRecord
from torpor_router.access.errors import (
    BadToken,
    CertificateEnded,
    CertificateNotYet,
    CertificateRevoked,
    NoSuchSatellite,
    OtherOrg,
    OtherSatellite,
    TokenEnded,
    UnknownCertificate,
    UnknownOrg,
)
from torpor_router.access.roles import UNLIMITED, Grant, Right, granted
from torpor_router.errors import NoCredentials
from torpor_router.routing import Ask, Certificate, Route
from torpor_statemachine.postgres.pool import Record

# A satellite is looked for only in the caller's own org: another's cannot be found out about. An
# operator has none, and means the one that the ask names.
FACTS = """
select asked.n,
       tokens.id as token_id,
       tokens.name as token,
       tokens.subject,
       tokens.revoked_at is not null or members.removed_at is not null as revoked,
       extract(epoch from tokens.expires_at - now())::float8 as lives,
       members.name as member,
       members.kind as member_kind,
       array[tokens.role, members.role,
             case when asked.hash is null then coalesce(issued.role, 'ci') end] as roles,
       tokens.satellites as only_for,
       tokens.role is not distinct from 'operator' as is_operator,
       orgs.id as org_id,
       orgs.name as org,
       satellites.id as satellite_id,
       issued.fingerprint is not null as on_record,
       exists (select from refused_certificates as refused
                where refused.id in (asked.serial, asked.fingerprint)) as certificate_refused
  from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
       with ordinality as asked (hash, certificate, serial, fingerprint, org, satellite, n)
  left join orgs as certified on asked.hash is null and certified.name = asked.certificate
  left join issued_certificates as issued
       on issued.fingerprint = asked.fingerprint and issued.org_id = certified.id
  left join tokens on tokens.id = coalesce(
       (select shown.id from tokens as shown where shown.hash = asked.hash), issued.token_id)
  left join members on members.id = tokens.member_id
  left join orgs on orgs.id = coalesce(tokens.org_id, certified.id,
       (select named.id from orgs as named
         where named.name = asked.org and tokens.role = 'operator'))
  left join satellites on satellites.org_id = orgs.id and orgs.name = asked.org
       and satellites.name = asked.satellite and satellites.state <> 'terminated'
 order by asked.n
"""


_NO_CERTIFICATE = Certificate("")
NO_ORG = UUID(int=0)  # an operator's that named none


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials those are, and what they allow.

    `name` is "token:ci", "user:ann/laptop", "service:deploy/ci", "oidc:SUBJECT",
    "certificate:laptop/4f2a90" (its common name and serial number) or "operator:ops". An operator's
    `org` is the one that was asked about, or empty.
    """

    org_id: UUID
    org: str
    name: str
    grant: Grant = UNLIMITED
    token_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided of an ask: a caller and a route, or a refusal.

    An ask that names no satellite gets a caller alone; a refusal has one where it is known who
    asked. `lives` is how many seconds the credentials are good for, whatever else happens.
    """

    caller: Caller | None = None
    route: Route | None = None
    refusal: TorporError | None = None
    lives: float = inf


def caller_only(token_hash: bytes, org: str = "") -> Ask:
    """An ask that names no satellite. `org` is the one that the caller says it is about."""
    return Ask(org, "", token_hash)


def arguments(asks: Sequence[Ask]) -> tuple[list[Any], ...]:
    """The parameters of `FACTS`."""
    certificates = [ask.certificate or _NO_CERTIFICATE for ask in asks]
    return (
        [ask.token_hash for ask in asks],
        [certificate.org for certificate in certificates],
        [certificate.serial for certificate in certificates],
        [certificate.fingerprint for certificate in certificates],
        [ask.org for ask in asks],
        [ask.satellite for ask in asks],
    )


def judge(ask: Ask, facts: Record, now: float) -> Verdict:
    """Decide on an ask from its row of `FACTS`. `now` is in seconds since 1970."""
    caller = None
    try:
        lives = _lives(ask, facts, now)
        caller = _caller(ask, facts)
        _check_org(ask, facts, caller)
        route = _route(ask, facts, caller) if ask.satellite else None
    except TorporError as refusal:
        return Verdict(caller, refusal=refusal.with_traceback(None))
    return Verdict(caller, route, lives=lives)


def _lives(ask: Ask, facts: Record, now: float) -> float:
    lives = inf if facts["lives"] is None else facts["lives"]
    if ask.certificate is None:
        return float(lives)
    if facts["certificate_refused"]:
        raise CertificateRevoked(f"serial {ask.certificate.serial}")
    check_time(ask.certificate, now)
    return float(min(lives, ask.certificate.ends - now))


def check_time(certificate: Certificate, now: float) -> None:
    """
    Raises:
        CertificateNotYet, CertificateEnded: it is not good at `now`, in seconds since 1970.
    """
    if certificate.begins > now:
        raise CertificateNotYet(f"serial {certificate.serial}")
    if certificate.ends <= now:
        raise CertificateEnded(f"serial {certificate.serial}")


def _caller(ask: Ask, facts: Record) -> Caller:
    if ask.token_hash is not None:
        _check_token(facts)
    elif ask.certificate is None:
        raise NoCredentials
    elif facts["org_id"] is None:
        raise UnknownCertificate(ask.certificate.org)
    elif ask.certificate.recorded and not facts["on_record"]:
        raise NotOnRecord(f"serial {ask.certificate.serial}")
    elif facts["token_id"] is not None and _has_ended(facts):
        raise CertificateRevoked(f"the token that it was got with, {facts['token']}, has ended")
    grant = granted(facts["roles"], facts["only_for"])
    return Caller(
        facts["org_id"] or NO_ORG, facts["org"] or "", _name(ask, facts), grant, facts["token_id"]
    )


def _check_org(ask: Ask, facts: Record, caller: Caller) -> None:
    """An ask that names an org and no satellite is about that org alone."""
    if ask.org and not ask.satellite and caller.org != ask.org:
        raise UnknownOrg(repr(ask.org)) if facts["is_operator"] else OtherOrg(ask.org)


def _name(ask: Ask, facts: Record) -> str:
    if ask.token_hash is None:
        assert ask.certificate is not None
        return ask.certificate.name
    if facts["is_operator"]:
        return f"operator:{facts['token']}"
    if facts["subject"] is not None:
        return f"oidc:{facts['subject']}"
    if facts["member"] is not None:
        return f"{facts['member_kind']}:{facts['member']}/{facts['token']}"
    return f"token:{facts['token']}"


def _has_ended(facts: Record) -> bool:
    return facts["revoked"] or (facts["lives"] is not None and facts["lives"] <= 0)


def _check_token(facts: Record) -> None:
    if facts["token"] is None:
        raise BadToken
    name = f"{facts['org'] or 'operator'}/{facts['token']}"
    if facts["revoked"]:
        raise TokenEnded(f"{name} was revoked")
    if facts["lives"] is not None and facts["lives"] <= 0:
        raise TokenEnded(f"{name} has expired")


def _route(ask: Ask, facts: Record, caller: Caller) -> Route:
    # each credential that was shown must be good for the satellite, not only the one that counts
    certificate = ask.certificate or Certificate(ask.org)
    if caller.org != ask.org or certificate.org != ask.org:
        raise OtherOrg(ask.org)
    if certificate.satellite not in (None, ask.satellite):
        raise OtherSatellite(f"it is for {certificate.org}/{certificate.satellite}")
    caller.grant.check(Right.BUILD)
    caller.grant.check_satellite(ask.satellite)
    if facts["satellite_id"] is None:
        raise NoSuchSatellite(f"{ask.org}/{ask.satellite}")
    return Route(facts["satellite_id"], ask.org, ask.satellite, caller.name)
