"""TLS that lets any client certificate through, and says what OpenSSL thinks of it.

Nobody is let in here: it serves to tell a client why its certificate is not believed. Python's own
`ssl` ends such a handshake and has no way to go on. pyOpenSSL has; it is imported when the first
certificate is not believed (10 MB, 0.2 s), and has an OpenSSL of its own, `cryptography`'s.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

from OpenSSL import SSL

from torpor_router.transport.handshake import reason_of
from torpor_router.transport.tls import NO_CHECK_TIME, TlsFiles

_AT_ONCE = 65_536  # octets


class Ended(Exception):  # an event, not a failure of ours
    """The client has ended its TLS, or broken it."""


def lenient_context(files: TlsFiles) -> SSL.Context:
    """As the door's own, but for what becomes of a certificate that is not believed.

    Raises:
        ssl.SSLError: the files cannot be used.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        context.use_certificate_chain_file(files.certificate)
        context.use_privatekey_file(files.key)
        context.load_verify_locations(str(files.client_ca))
    except SSL.Error as error:
        raise ssl.SSLError(str(error)) from error
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(NO_CHECK_TIME)
    context.set_verify(SSL.VERIFY_PEER, _note)
    context.set_alpn_select_callback(_choose)
    return context


def _note(connection: SSL.Connection, _: Any, error: int, __: int, ok: int) -> bool:
    if not ok:
        connection.get_app_data().append(error)
    return True


def _choose(_: SSL.Connection, offered: list[bytes]) -> Any:
    return b"h2" if b"h2" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class LenientTls:
    """The server's side of one connection, between octets and octets."""

    def __init__(self, context: SSL.Context) -> None:
        self._errors: list[int] = []  # OpenSSL's, in the order in which it met them
        self._tls = SSL.Connection(context)
        self._tls.set_app_data(self._errors)
        self._tls.set_accept_state()
        self.agreed = False  # the handshake is done

    def __repr__(self) -> str:
        return f"<LenientTls {'agreed' if self.agreed else 'under way'}, {self.disbelieved}>"

    @property
    def http2(self) -> bool:
        """Whether ALPN agreed on it."""
        return bool(self._tls.get_alpn_proto_negotiated() == b"h2")

    @property
    def disbelieved(self) -> str | None:
        """Why the client's certificate is not; None if it is, or if there is none."""
        return reason_of(self._errors[0]) if self._errors else None

    def feed(self, data: bytes) -> bytes:
        """What the client says, once the handshake is done.

        Raises:
            Ended: it says no more.
        """
        self._tls.bio_write(data)
        said: list[bytes] = []
        try:
            if not self.agreed:
                self._tls.do_handshake()
                self.agreed = True
            while True:
                said.append(self._tls.recv(_AT_ONCE))
        except SSL.WantReadError:
            return b"".join(said)
        except SSL.Error as error:
            raise Ended from error

    def say(self, data: bytes) -> None:
        """To a client that has broken its TLS, nothing can be said."""
        if data:
            with suppress(SSL.Error):
                self._tls.sendall(data)

    def end(self) -> None:
        """Say that nothing more follows (close_notify, RFC 8446 section 6.1)."""
        with suppress(SSL.Error):
            self._tls.shutdown()

    def outgoing(self) -> bytes:
        """The octets that are to be sent now."""
        out: list[bytes] = []
        try:
            while True:
                out.append(self._tls.bio_read(_AT_ONCE))
        except SSL.WantReadError:
            return b"".join(out)
