"""Why a command and its router do not agree on TLS, in words.

gRPC tells it in OpenSSL's internals, or only that the connection was closed. So when a call could
not be made, one handshake of our own finds out.
"""

from __future__ import annotations

import socket
import ssl

from torpor_router.cli.connection import Target
from torpor_router.h2.wire import PREFACE, settings

_PATIENCE = 3.0  # seconds
_WANTS_ANOTHER = {
    False: "it asks for a client certificate (--client-cert)",
    True: "it does not accept the client certificate",  # which this handshake did not show
}


def tls_trouble(target: Target) -> str | None:
    """What is wrong with TLS towards a router that did not answer; None if nothing was found."""
    try:
        with socket.create_connection(target.address, _PATIENCE) as connection:
            return _talk(connection, target)
    except ssl.SSLCertVerificationError as error:
        return f"the router's certificate: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        return _described(error, target)
    except OSError:
        return None  # it is not TLS that is in the way


def _talk(connection: socket.socket, target: Target) -> str | None:
    with _context(target).wrap_socket(connection, server_hostname=target.address.host) as tls:
        if target.tls is None:
            return "it speaks TLS, and it was spoken to in plaintext"
        # What it thinks of our certificate, or of there being none, comes after the handshake.
        tls.sendall(PREFACE + settings(()))
        return None if _answers(tls) else _WANTS_ANOTHER[target.tls.certificate is not None]


def _answers(tls: ssl.SSLSocket) -> bool:
    try:
        return bool(tls.recv(1))
    except ConnectionResetError:
        return False


def _context(target: Target) -> ssl.SSLContext:
    ca = target.tls.ca if target.tls is not None else None
    context = ssl.create_default_context()
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=_certificates(ca))
    if target.tls is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _certificates(pem: bytes) -> str:
    """Without the remarks between them, which may be in any encoding."""
    return pem.decode("ascii", "ignore")


def _described(error: ssl.SSLError, target: Target) -> str | None:
    reason = error.reason or ""
    if target.tls is None:
        return None
    if "ALERT" not in reason:
        return "it does not speak TLS"
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
        return _WANTS_ANOTHER[target.tls.certificate is not None]
    return reason.lower().replace("_", " ")
