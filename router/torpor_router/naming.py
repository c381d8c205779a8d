"""Which satellite a request means.

It is named, in this order, by the metadata ``satellite: ORG/NAME`` (or ``satellite_org`` and
``satellite_name``), by the client certificate, by the TLS server name ``NAME--ORG.DOMAIN``, and by
``:authority``; names may not contradict each other.
"""

from __future__ import annotations

from torpor_router.errors import BadSatelliteName, MalformedRequest
from torpor_router.names import is_name
from torpor_router.routing import Names, Peer

NAMING = (b"satellite", b"satellite_org", b"satellite_name")  # metadata


def named(of: dict[bytes, bytes], peer: Peer, domain: str) -> Names | None:
    """Which satellite is meant: the metadata's, the certificate's, or the host name's.

    Host names must agree with what counts more. (What metadata names besides the certificate's
    own is a question of rights, and asked later.)
    """
    host = from_host(peer.server_name or "", domain)
    authority = from_host(_text(of.get(b":authority", b"")), domain)
    certificate = peer.certificate
    by_certificate = None
    if certificate is not None and certificate.satellite is not None:
        by_certificate = certificate.org, certificate.satellite
    names = _in_metadata(of, peer) or by_certificate or host or authority
    for each in (host, authority if domain else None):  # without a domain, any host is one
        if each not in (None, names):
            raise BadSatelliteName(f"{_written(names)}, and the host name says {_written(each)}")
    return names


def _in_metadata(of: dict[bytes, bytes], peer: Peer) -> Names | None:
    one = _from_metadata(of[b"satellite"], peer) if b"satellite" in of else None
    two = None
    if b"satellite_name" in of:
        org = of.get(b"satellite_org")
        if org is None and peer.org is None:
            raise BadSatelliteName("'satellite_name' without 'satellite_org'")
        named_org = _text(org) if org is not None else peer.org
        two = _checked(named_org, of[b"satellite_name"])
    elif b"satellite_org" in of and one is None:
        raise BadSatelliteName("'satellite_org' without 'satellite_name'")
    if one is not None and two is not None and one != two:
        raise BadSatelliteName(f"{_written(one)}, and {_written(two)}")
    return one or two


def _from_metadata(value: bytes, peer: Peer) -> Names:
    org, slash, name = _text(value).partition("/")
    if slash:
        return _checked(org, name)
    if peer.org is None:
        raise BadSatelliteName(f"{_shown(org)} is not of the form ORG/NAME")
    return _checked(peer.org, org)


def _checked(org: str | None, name: str | bytes) -> Names:
    org, name = org or "", _text(name) if isinstance(name, bytes) else name
    if not (is_name(org) and is_name(name)):
        raise BadSatelliteName(_shown(f"{org}/{name}"))
    return org, name


def from_host(host: str, domain: str = "") -> Names | None:
    """The names in NAME--ORG.DOMAIN (a port may follow); None where the host names none.

    A name that itself has two hyphens in a row cannot be told by a host name.
    """
    label, _, rest = host.lower().partition(".")
    name, _, org = label.partition("--")
    under = rest.partition(":")[0]
    if (
        under
        and domain.lower() in ("", under)
        and label.count("--") == 1
        and is_name(name)
        and is_name(org)
    ):
        return org, name
    return None


def _written(names: Names | None) -> str:
    return "/".join(names or ())


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedRequest("a name or host is not ASCII") from error


def _shown(text: str) -> str:
    return repr(text[:80])
