"""What the database knows of a request's credentials and satellite, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.access.errors import (
    BadToken,
    CertificateEnded,
    CertificateRevoked,
    NoSuchSatellite,
    OtherOrg,
    OtherSatellite,
    TokenEnded,
    UnknownCertificate,
)
from torpor_router.errors import NoCredentials
from torpor_router.routing import Ask, Certificate, Route
from torpor_statemachine.postgres.pool import Record

# A satellite is looked for only in the caller's own org: another's cannot be found out about.
FACTS = """
select asked.n,
       tokens.name as token,
       tokens.revoked_at is not null as revoked,
       extract(epoch from tokens.expires_at - now())::float8 as lives,
       orgs.id as org_id,
       orgs.name as org,
       satellites.id as satellite_id,
       exists (select from refused_certificates as refused
                where refused.id in (asked.serial, asked.fingerprint)) as certificate_refused
  from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
       with ordinality as asked (hash, certificate, serial, fingerprint, org, satellite, n)
  left join tokens on tokens.hash = asked.hash
  left join orgs on orgs.id = tokens.org_id
       or (asked.hash is null and orgs.name = asked.certificate)
  left join satellites on satellites.org_id = orgs.id and orgs.name = asked.org
       and satellites.name = asked.satellite and satellites.state <> 'terminated'
 order by asked.n
"""


_NO_CERTIFICATE = Certificate("")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials those are. `name` is "token:ci" or "certificate:acme"."""

    org_id: UUID
    org: str
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided of an ask: a caller and a route, or a refusal.

    An ask that names no satellite gets a caller alone. `lives` is how many seconds the
    credentials are good for, whatever else happens.
    """

    caller: Caller | None = None
    route: Route | None = None
    refusal: TorporError | None = None
    lives: float = inf


def caller_only(token_hash: bytes | None = None, certificate: Certificate | None = None) -> Ask:
    """An ask that names no satellite."""
    return Ask("", "", token_hash, certificate)


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
    try:
        lives = _lives(ask, facts, now)
        caller = _caller(ask, facts)
        route = _route(ask, facts, caller) if ask.org else None
    except TorporError as refusal:
        return Verdict(refusal=refusal.with_traceback(None))
    return Verdict(caller, route, lives=lives)


def _lives(ask: Ask, facts: Record, now: float) -> float:
    lives = inf if facts["lives"] is None else facts["lives"]
    if ask.certificate is None:
        return float(lives)
    if facts["certificate_refused"]:
        raise CertificateRevoked(f"serial {ask.certificate.serial}")
    if ask.certificate.ends <= now:
        raise CertificateEnded(f"serial {ask.certificate.serial}")
    return float(min(lives, ask.certificate.ends - now))


def _caller(ask: Ask, facts: Record) -> Caller:
    if ask.token_hash is not None:
        _check_token(facts)
        return Caller(facts["org_id"], facts["org"], f"token:{facts['token']}")
    if ask.certificate is None:
        raise NoCredentials
    if facts["org_id"] is None:
        raise UnknownCertificate(ask.certificate.org)
    return Caller(facts["org_id"], facts["org"], f"certificate:{facts['org']}")


def _check_token(facts: Record) -> None:
    if facts["token"] is None:
        raise BadToken
    name = f"{facts['org']}/{facts['token']}"
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
    if facts["satellite_id"] is None:
        raise NoSuchSatellite(f"{ask.org}/{ask.satellite}")
    return Route(facts["satellite_id"], ask.org, ask.satellite, caller.name)
