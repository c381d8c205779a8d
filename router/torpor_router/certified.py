"""Open connections by the client certificate that they came with; ends those that may not stay.

A connection ends with its certificate: at its notAfter, when it is revoked, or when the client CA
that it was believed for is taken out of the file. Who is believed for another CA stays.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Set
from math import inf

from torpor_provisioner.errors import TorporError
from torpor_router.access.errors import AuthorityReplaced, CertificateEnded, CertificateRevoked
from torpor_router.relay.sockets import ClientConnection
from torpor_router.routing import Certificate


class Certified:
    """`is_refused` says whether a certificate is revoked already; `refuse` is told when one is.

    `authorities` has the SHA-256 of each client CA that is believed now.
    """

    def __init__(
        self, is_refused: Callable[[Certificate], bool], authorities: Callable[[], frozenset[str]]
    ) -> None:
        self._is_refused = is_refused
        self._authorities = authorities
        self._counted = authorities()
        self._connections: defaultdict[Certificate, set[ClientConnection]] = defaultdict(set)
        self._by_id: defaultdict[str, set[Certificate]] = defaultdict(set)
        self._next_end = inf  # not before it, a certificate ends
        self._new: list[Certificate] = []

    def __repr__(self) -> str:
        return f"<Certified by {len(self._connections)} certificates>"

    def any(self) -> bool:
        """Whether a connection is open that came with a certificate."""
        return bool(self._connections)

    def came(self, connection: ClientConnection, certificate: Certificate | None) -> None:
        if certificate is None or not certificate.is_good_at(time.time()):
            return  # its requests are refused, each with a code
        if certificate not in self._connections:
            for id_ in (certificate.serial, certificate.fingerprint):
                self._by_id[id_].add(certificate)
            self._next_end = min(self._next_end, certificate.ends)
        self._connections[certificate].add(connection)
        self._new.append(certificate)

    def went(self, connection: ClientConnection, certificate: Certificate | None) -> None:
        if certificate is None or certificate not in self._connections:
            return
        self._connections[certificate].discard(connection)
        if self._connections[certificate]:
            return
        del self._connections[certificate]
        for id_ in (certificate.serial, certificate.fingerprint):
            self._by_id[id_].discard(certificate)
            if not self._by_id[id_]:
                del self._by_id[id_]

    def refuse(self, ids: Set[str]) -> None:
        """Certificates with these serial numbers or SHA-256 are revoked now."""
        for id_ in ids & self._by_id.keys():
            for certificate in list(self._by_id[id_]):
                self._cut(certificate, CertificateRevoked(f"serial {certificate.serial}"))

    def look(self) -> None:
        """See whose time is over, and who came too late; to be called a few times a second."""
        new, self._new = self._new, []
        for certificate in new:
            if self._is_refused(certificate):
                self._cut(certificate, CertificateRevoked(f"serial {certificate.serial}"))
        if (now := time.time()) >= self._next_end:
            self._end(now)
        self._look_at_authorities(new)

    def _end(self, now: float) -> None:
        for certificate in list(self._connections):
            if certificate.ends <= now:
                self._cut(certificate, CertificateEnded(f"serial {certificate.serial}"))
        self._next_end = min(
            (each.ends for each in self._connections if each.ends > now), default=inf
        )

    def _look_at_authorities(self, new: list[Certificate]) -> None:
        now = self._authorities()
        some = new if now == self._counted else list(self._connections)
        self._counted = now
        for certificate in some:
            if certificate.authority not in now:
                self._cut(certificate, AuthorityReplaced(f"serial {certificate.serial}"))

    def _cut(self, certificate: Certificate, why: TorporError) -> None:
        for connection in list(self._connections.get(certificate, ())):
            connection.pair.retire(str(why))  # those without a stream learn why, too
            connection.cut(why)
