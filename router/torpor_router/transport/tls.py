"""TLS for the door and towards workers (RFC 9113 section 9.2).

Certificates are read again when their files change, without a restart.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torpor_router.routing import ON_RECORD, Certificate, Peer, identity
from torpor_router.transport.handshake import Handshake, verified_chain

log = logging.getLogger(__name__)

ALPN = ["h2"]
HTTP_1 = ["http/1.1"]  # for browsers
_LONGEST_SUBJECT = 64  # characters of a common name (RFC 5280, appendix A.1)
NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAGNO_CHECK_TIME
# What RFC 9113 section 9.2.2 leaves of TLS 1.2: ephemeral keys and authenticated encryption.
_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `client_ca`, clients may show a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class _Reloaded:
    """Reads PEM files, and again when they change."""

    def __init__(self, *files: Path | None) -> None:
        self._paths = [each for each in files if each is not None]
        self._stamp = self._look()
        self._read()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(map(str, self._paths))}>"

    def reload(self, *, unchanged: bool = False) -> bool:
        """Read the files again if they changed (or anyway); whether new connections use them.

        Files that cannot be used (half written, say) are logged and tried again next time.
        """
        try:
            stamp = self._look()
            if stamp == self._stamp and not unchanged:
                return False
            self._read()
        except OSError as error:  # ssl.SSLError is one
            log.warning("TLS files not reloaded: %s", error)
            return False
        self._stamp = stamp
        log.info("TLS files reloaded: %s", ", ".join(map(str, self._paths)))
        return True

    def _look(self) -> tuple[tuple[int, int], ...]:
        """Something that changes whenever a file does."""
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in map(Path.stat, self._paths))

    def _read(self) -> None:
        raise NotImplementedError


class ServerTls(_Reloaded):
    """The door's side.

    `alpn` are the protocols that are spoken.

    Where clients may show certificates, TLS 1.3 is the oldest and no session is resumed: a resumed
    session brings its old certificate along, whatever has become of it and of its CA.

    Raises:
        OSError, ssl.SSLError: the files cannot be read, or do not fit each other.
    """

    def __init__(self, files: TlsFiles, alpn: Sequence[str] = ALPN) -> None:
        self.files = files
        self._alpn = alpn
        self._names: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        super().__init__(files.certificate, files.key, files.client_ca)

    @property
    def believes_clients(self) -> bool:
        """Whether a client may show a certificate."""
        return self.files.client_ca is not None

    @property
    def authorities(self) -> frozenset[str]:
        """The client CAs that are believed now: the SHA-256 of each."""
        return self._newest.authorities

    def _read(self) -> None:
        self._newest = _ServerContext(self.files)
        self._newest.set_alpn_protocols(list(self._alpn))
        self._newest.sni_callback = self._hello

    @property
    def context(self) -> ssl.SSLContext:
        """For one more connection; another one once the files have changed."""
        return self._newest

    def _hello(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name:
            self._names[tls] = name

    def peer(self, address: str, tls: ssl.SSLObject) -> Peer:
        """Who the finished handshake says is there."""
        return Peer(address, _certificate(tls), self._names.get(tls))


class _ServerContext(ssl.SSLContext):
    """Made from `files`. `authorities` has the SHA-256 of each client CA."""

    authorities: frozenset[str]

    def __new__(cls, files: TlsFiles) -> _ServerContext:  # noqa: ARG004 - as __init__
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        _common(self)
        self.sslobject_class = Handshake
        self.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            self.load_verify_locations(files.client_ca)
            self.verify_mode = ssl.CERT_OPTIONAL
            # One that has ended comes through, and its requests are refused with a code
            self.verify_flags = ssl.VerifyFlags(self.verify_flags | NO_CHECK_TIME)
            self.minimum_version = ssl.TLSVersion.TLSv1_3
            self.num_tickets = 0
            self.options |= ssl.OP_NO_TICKET
        self.authorities = frozenset(_hash(each) for each in self.get_ca_certs(binary_form=True))


def _certificate(tls: ssl.SSLObject) -> Certificate | None:
    """What the client's certificate says, if it has one that speaks for an org.

    It is good while all of those are that it was verified by, and the last of them is believed.
    """
    fields: dict[str, Any] = tls.getpeercert() or {}
    der = tls.getpeercert(binary_form=True)
    for kind, value in fields.get("subjectAltName", ()):
        names = identity(value) if kind == "URI" else None
        if names is not None and der is not None:
            chain = verified_chain(tls)
            subject = [pair for part in fields.get("subject", ()) for pair in part]
            return Certificate(
                *names,
                serial=f"{int(fields['serialNumber'], 16):x}",
                fingerprint=_hash(der),
                begins=max(ssl.cert_time_to_seconds(each.fields["notBefore"]) for each in chain),
                ends=min(ssl.cert_time_to_seconds(each.fields["notAfter"]) for each in chain),
                authority=_hash(chain[-1].der),
                subject=_printable(dict(subject).get("commonName", "")),
                recorded=("organizationalUnitName", ON_RECORD) in subject,
            )
    return None


def _printable(name: str) -> str:
    """A common name for a line of the log: any CA's, so of any length and with anything in it."""
    return "".join(each if each.isprintable() else "?" for each in name[:_LONGEST_SUBJECT])


def _hash(der: bytes) -> str:
    return sha256(der).hexdigest()


class WorkerTls(_Reloaded):
    """Towards workers. A worker shows a certificate of `ca` for ``NAME--ORG.domain``, so that one
    satellite cannot pass for another; the door shows its own, if it has one.

    Raises:
        OSError, ssl.SSLError: the files cannot be read, or do not fit each other.
    """

    def __init__(
        self, ca: Path, domain: str, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self._ca = ca
        self._domain = domain
        self._shown = certificate, key
        super().__init__(ca, certificate, key)

    def _read(self) -> None:
        self.context = _worker_context(self._ca, *self._shown)
        probe = _worker_context(self._ca, *self._shown)
        probe.check_hostname = False
        self.probe_context = probe  # does not ask for whom

    def server_name(self, org: str, satellite: str) -> str:
        return f"{satellite}--{org}.{self._domain}"


def _worker_context(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _common(context)
    context.load_verify_locations(ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _common(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.set_alpn_protocols(ALPN)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All that is left is strong: let the client choose what its processor is fastest at.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
