"""The CA for client certificates, and what it issues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from torpor_router.access.ca.errors import BadCertificateLifetime, UnusableAuthority
from torpor_router.access.ca.requests import PublicKey, private_pem
from torpor_router.access.errors import UnusableName
from torpor_router.names import is_name
from torpor_router.routing import ON_RECORD, uri_of

LIVES = timedelta(days=3_650)
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=90)  # of what it issues
LONGEST_SUBJECT = 64  # characters of a common name (RFC 5280, appendix A.1)
_SLOW_CLOCKS = timedelta(minutes=5)  # that a router may be behind
_USES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A client certificate as it was issued. `serial` and `fingerprint` are hex."""

    pem: bytes
    serial: str
    fingerprint: str
    subject: str
    ends: datetime


class ClientAuthority:
    """`certificate` is the CA's own, PEM; `key` signs."""

    def __init__(self, certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    def __repr__(self) -> str:
        return f"<ClientAuthority {self.name}>"

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8 without a password."""
        return private_pem(self._key)

    @property
    def name(self) -> str:
        return self._certificate.subject.rfc4514_string()

    @property
    def ends(self) -> datetime:
        return self._certificate.not_valid_after_utc

    @classmethod
    def make(cls, name: str, lives: timedelta = LIVES) -> Self:
        """A new CA called `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, checked_subject(name))])
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(own)
            .issuer_name(own)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLOW_CLOCKS)
            .not_valid_after(now + lives)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(signed, key)

    @classmethod
    def read(cls, certificates: bytes, key: bytes) -> Self:
        """The CA of that `key` among the `certificates`, both PEM.

        Raises:
            UnusableAuthority: they are not what they should be, or none is the key's.
        """
        try:
            own = serialization.load_pem_private_key(key, None)
            believed = x509.load_pem_x509_certificates(certificates)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableAuthority("they are no PEM certificate and key") from error
        if not isinstance(own, EllipticCurvePrivateKey):
            raise UnusableAuthority("its key is not on an elliptic curve, as 'torpor ca init's is")
        for each in believed:
            if each.public_key() == own.public_key():
                return cls(each, own)
        raise UnusableAuthority("the key belongs to none of the CA's certificates")

    def issue(
        self,
        key: PublicKey,
        subject: str,
        *,
        org: str,
        satellite: str | None,
        lives: timedelta,
        no_longer_than: datetime | None = None,
    ) -> Signed:
        """A client's certificate for all of `org`, or for its one `satellite`.

        Raises:
            UnusableName, BadCertificateLifetime: it cannot be issued so.
            UnusableAuthority: this CA has ended.
        """
        for each in (org, *([satellite] if satellite is not None else [])):
            if not is_name(each):
                raise UnusableName(repr(each[:60]))
        if not SHORTEST <= lives <= LONGEST:
            raise BadCertificateLifetime(str(lives))
        now = datetime.now(UTC)
        limits = [now + lives, self.ends, *([no_longer_than] if no_longer_than else [])]
        ends = min(limits).replace(microsecond=0)
        if ends <= now:
            raise UnusableAuthority(f"it has ended at {self.ends:%Y-%m-%d %H:%M:%SZ}")
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, checked_subject(subject)),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ON_RECORD),
            ]
        )
        uri = x509.UniformResourceIdentifier(uri_of(org, satellite))
        serial = x509.random_serial_number() >> 96  # 63 random bits: people read and type it
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(serial or 1)
            .not_valid_before(now - _SLOW_CLOCKS)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_USES, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Signed(
            pem=signed.public_bytes(serialization.Encoding.PEM),
            serial=f"{signed.serial_number:x}",
            fingerprint=signed.fingerprint(hashes.SHA256()).hex(),
            subject=subject,
            ends=ends,
        )


def checked_subject(text: str) -> str:
    """
    Raises:
        UnusableName: it can be no certificate's common name.
    """
    if not 0 < len(text) <= LONGEST_SUBJECT or not text.isprintable() or not text.isascii():
        raise UnusableName(f"{text[:80]!r}: 1 to {LONGEST_SUBJECT} printable ASCII characters")
    return text
