"""TLS in three checks: name and chain; dates, by this machine's clock; HTTP/2.

A certificate that is good but for its dates is message of under the clock: one of the two is wrong.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from datetime import UTC, datetime
from typing import Any

from torpor_router.cli.connection import ClientTls, Target
from torpor_router.cli.doctor.finding import Broken, Finding
from torpor_router.h2.wire import HEADER_SIZE, PREFACE, Kind, settings, unpack_header
from torpor_router.names import written_address

_CA = "Give the CA of the router's certificate: --ca or TORPOR_CA"
_SILENT = (
    "What takes the connection is no router, or something on the way swallows it: look at"
    " firewalls, proxies and load balancers between"
)
_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME; `ssl` has no name for it
_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_NAMES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


class Shaken:
    """A connection after the handshake; `dates` is why its certificate's are wrong, if they are."""

    def __init__(self, connection: ssl.SSLSocket, dates: str = "") -> None:
        self.connection = connection
        self.certificate: dict[str, Any] = connection.getpeercert() or {}
        self.dates = dates


def shaken(connection: socket.socket, target: Target) -> tuple[Shaken, Finding]:
    """Make the TLS handshake, by name and chain.

    Raises:
        Broken
    """
    peer, within = connection.getpeername()[:2], connection.gettimeout()  # gone once wrapped
    try:
        try:
            tls = Shaken(_wrapped(connection, target, ssl.VerifyFlags(0)))
        except ssl.SSLCertVerificationError as error:
            if error.verify_code not in _DATES:
                raise
            again = socket.create_connection(peer, within)
            dated = _wrapped(again, target, ssl.VerifyFlags(_NO_CHECK_TIME))
            tls = Shaken(dated, error.verify_message)
    except (OSError, ValueError) as error:
        raise _broken(error, target) from error
    detail = f"{tls.connection.version()}, the certificate is for {target.address.host}"
    return tls, Finding("TLS", ok=True, detail=detail)


def dated(tls: Shaken) -> Finding:
    """
    Raises:
        Broken
    """
    now = datetime.now(UTC)
    begins, ends = (
        datetime.fromtimestamp(ssl.cert_time_to_seconds(tls.certificate[each]), UTC)
        for each in ("notBefore", "notAfter")
    )
    if tls.dates or not begins <= now <= ends:
        raise Broken(
            "clock",
            f"here it is {now:%Y-%m-%d %H:%MZ}, and the router's certificate is good from"
            f" {begins:%Y-%m-%d %H:%MZ} to {ends:%Y-%m-%d %H:%MZ}"
            + ("" if not begins <= now <= ends else ": another of its chain is not"),
            "Set this machine's clock if it is wrong; else renew the router's certificate",
        )
    detail = f"{now:%Y-%m-%d %H:%MZ}; the certificate is good until {ends:%Y-%m-%d %H:%MZ}"
    return Finding("clock", ok=True, detail=detail)


def spoken(connection: socket.socket, target: Target) -> Finding:
    """Whether HTTP/2 is spoken: by ALPN under TLS, and by a first SETTINGS frame.

    Raises:
        Broken
    """
    tls = connection if isinstance(connection, ssl.SSLSocket) else None
    chosen = tls.selected_alpn_protocol() if tls is not None else None
    if tls is not None and chosen != "h2":
        raise Broken(
            "HTTP/2",
            f"by ALPN it speaks {chosen or 'no HTTP/2'}",
            "A proxy or load balancer ends TLS on the way and speaks HTTP/1: it must pass TCP"
            " through (layer 4), or offer 'h2'",
        )
    try:
        connection.sendall(PREFACE + settings(()))
        head = _read(connection, HEADER_SIZE)
    except TimeoutError:
        raise Broken("HTTP/2", "no answer to the first frame", _SILENT) from None
    except ssl.SSLError as error:
        raise _refused(error, target) from error
    except OSError:
        head = b""
    if len(head) < HEADER_SIZE:
        raise _hung_up(target, secure=tls is not None)
    if unpack_header(head)[0] & 0xFF != Kind.SETTINGS:
        raise Broken(
            "HTTP/2",
            "what answers there does not speak HTTP/2",
            "Check the address: 'torpor serve' answers there, or what passes TCP to it",
        )
    how = "by ALPN" if tls is not None else "in plaintext"
    return Finding("HTTP/2", ok=True, detail=f"spoken, {how}")


def _wrapped(connection: socket.socket, target: Target, flags: ssl.VerifyFlags) -> ssl.SSLSocket:
    tls = target.tls or ClientTls()
    if tls.ca is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=tls.ca.decode("ascii", "ignore"))
    context.verify_flags |= flags
    context.set_alpn_protocols(["h2"])
    if tls.certificate is not None and tls.key is not None:
        with tempfile.NamedTemporaryFile() as pair:  # mode 0600
            pair.write(tls.key + b"\n" + tls.certificate)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context.wrap_socket(connection, server_hostname=target.address.host)


def _broken(error: OSError | ValueError, target: Target) -> Broken:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code) if code in _NAMES:
            return Broken(
                "TLS",
                f"the router's certificate: {error.verify_message.rstrip('.')}",
                "Use the name that is in the certificate as the address, or have one issued for"
                f" {target.address.host}",
            )
        case ssl.SSLCertVerificationError():
            message = f"the router's certificate: {error.verify_message.rstrip('.')}"
            return Broken("TLS", message, _CA)
        case TimeoutError():
            return Broken("TLS", "the connection is taken, and then nothing is said", _SILENT)
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return _refused(error, target)
        case ssl.SSLError(reason=reason) if reason and "EOF" not in reason:
            return Broken(
                "TLS",
                "what answers there does not speak TLS",
                "Give --plaintext if TLS ends in front of the router; else check the port",
            )
        case _:
            return Broken("TLS", "the connection is closed in the handshake", _SILENT)


def _refused(error: ssl.SSLError, target: Target) -> Broken:
    message = (error.reason or "refused").lower().replace("_", " ")
    if target.tls is None or target.tls.certificate is None:
        remedy = "Show a client certificate: --client-cert and --client-key"
    else:
        remedy = "Get a new client certificate: 'satellite certificate', or from your operator"
    return Broken("TLS", f"the router does not accept this client: {message}", remedy)


def _hung_up(target: Target, *, secure: bool) -> Broken:
    if secure:
        wanted = target.tls is None or target.tls.certificate is None
        return Broken(
            "HTTP/2",
            "the connection is closed at the first frame",
            "If the router asks for a client certificate, show one: --client-cert, --client-key"
            if wanted
            else "The router may not accept the client certificate: look into its log",
        )
    return Broken(
        "HTTP/2",
        f"{written_address(target.address)} closes a connection in plaintext",
        "Give --tls (and --ca, if the CA is your own): it may speak TLS only",
    )


def _read(connection: socket.socket, octets: int) -> bytes:
    got = b""
    while len(got) < octets and (more := connection.recv(octets - len(got))):
        got += more
    return got
