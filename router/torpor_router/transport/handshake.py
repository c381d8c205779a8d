"""TLS handshakes that fail: told to the client, and to us.

When OpenSSL gives a handshake up it writes an alert that says why (RFC 8446 section 6.2), and the
event loop's TLS, asyncio's and uvloop's, closes the connection without sending it. A client whose
certificate is not believed then hears of a broken pipe, or tries again for 20 s.
"""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from typing import Any, NamedTuple

_DER = 2  # OpenSSL's encoding: DER, as the module `_ssl` names it
_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

# OpenSSL's x509_vfy.h: what is wrong with a certificate, in the words of a metric's label
_REASONS = {
    **dict.fromkeys((2, 18, 19, 20, 21, 27), "other CA"),
    26: "wrong use",
}


def reason_of(verify_code: int) -> str:
    return _REASONS.get(verify_code, "other")


class Arrival:
    """What became of one connection's handshake. `peer` is the client's host and port."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.failure: ssl.SSLError | None = None

    def __repr__(self) -> str:
        return f"<Arrival {self.failure or 'under way'}>"

    @property
    def disbelieved(self) -> str | None:
        """Why the client's certificate is not believed, in a word or two; None: it is, so far."""
        if isinstance(self.failure, ssl.SSLCertVerificationError):
            return reason_of(self.failure.verify_code)
        return None

    @property
    def why(self) -> str:
        """The same in OpenSSL's words, or how else the handshake failed; empty if it did not."""
        if isinstance(self.failure, ssl.SSLCertVerificationError):
            return str(self.failure.verify_message)
        return str(self.failure or "")


# Of the task that a connection arrives in; the loop's TLS runs what it is given in its context.
arrival: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


class Handshake(ssl.SSLObject):
    """Asks for more octets when it has failed: so the alert is sent first, and then it fails."""

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except _AGAIN:
            raise
        except ssl.SSLError as error:
            self._failure = error
            if (of := arrival.get()) is not None:
                of.failure = error
            raise ssl.SSLWantReadError from error


class Verified(NamedTuple):
    """A certificate of a verified chain: as `getpeercert` tells it, and in its DER form."""

    fields: dict[str, Any]
    der: bytes


def verified_chain(tls: ssl.SSLObject) -> list[Verified]:
    """The client's certificate and those that it was verified by; the CA believed is the last."""
    # `ssl` itself shows them from Python 3.13 on, and there not read
    chain = tls._sslobj.get_verified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
    return [Verified(each.get_info(), each.public_bytes(_DER)) for each in chain or ()]
