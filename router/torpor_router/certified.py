"""Open connections by the client certificate that they came with; ends those that may not stay.

A connection ends with its certificate: at its notAfter, or once it is revoked. One that was
verified with client CAs that have since been replaced takes no new stream: its client connects
again, and shows its certificate to the new ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from torpor_provisioner.errors import TorporError
from torpor_router.relay.sockets import ClientConnection
from torpor_router.routing import Certificate

_ROUND = 2  # looks in which every certificate is looked at once


class Certified:
    """`refusal` says why a certificate is good no more; `authorities`, which client CAs count."""

    def __init__(
        self,
        refusal: Callable[[Certificate], TorporError | None],
        authorities: Callable[[], str],
    ) -> None:
        self._refusal = refusal
        self._authorities = authorities
        self._connections: defaultdict[Certificate, set[ClientConnection]] = defaultdict(set)
        self._round: list[Certificate] = []

    def __repr__(self) -> str:
        return f"<Certified by {len(self._connections)} certificates>"

    def came(self, connection: ClientConnection, certificate: Certificate | None) -> None:
        if certificate is not None:
            self._connections[certificate].add(connection)
            self._refusal(certificate)  # begins to ask, so that the answer is there in time

    def went(self, connection: ClientConnection, certificate: Certificate | None) -> None:
        if certificate is not None and certificate in self._connections:
            others = self._connections[certificate]
            others.discard(connection)
            if not others:
                del self._connections[certificate]

    def look(self) -> None:
        """Look at half of the certificates."""
        if not self._round:
            self._round = list(self._connections)
        for _ in range(-(-len(self._connections) // _ROUND)):
            if self._round:
                self._look_at(self._round.pop())

    def _look_at(self, certificate: Certificate) -> None:
        connections = list(self._connections.get(certificate, ()))
        if not connections:
            return
        refusal = self._refusal(certificate)
        outdated = certificate.authorities != self._authorities()
        for connection in connections:
            if refusal is not None:
                connection.pair.retire(str(refusal))  # those without a stream learn why, too
                connection.cut(refusal)
            elif outdated:
                connection.pair.retire("the client CA has changed")
