"""Reads what a client asks to have signed: a certificate signing request (PKCS #10, RFC 2986).

Nothing of it is taken over but the public key: who the certificate speaks for is the CA's to say.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from torpor_router.access.ca.errors import BadCertificateRequest

PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey
LARGEST = 16 * 1024  # octets
_RSA = (2048, 4096)  # bits: fewer are weak, more cost a handshake too much


def key_in(request: bytes) -> PublicKey:
    """The public key in a request, PEM or DER, whose sender has shown to have its other half.

    Raises:
        BadCertificateRequest: it is none, or with a key that is not accepted.
    """
    if len(request) > LARGEST:
        raise BadCertificateRequest(f"{len(request)} octets: {LARGEST} at most")
    pem = b"-----BEGIN" in request
    try:
        read = (x509.load_pem_x509_csr if pem else x509.load_der_x509_csr)(request)
        if not read.is_signature_valid:
            raise BadCertificateRequest("its signature is not its key's")
        key = read.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadCertificateRequest("it cannot be read") from error
    match key:
        case EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case Ed25519PublicKey():
            return key
        case RSAPublicKey() if _RSA[0] <= key.key_size <= _RSA[1]:
            return key
        case _:
            raise BadCertificateRequest("its key is of another kind")


def new_request(subject: str) -> tuple[bytes, bytes]:
    """A new private key (PKCS #8) and a request for it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return private_pem(key), request.public_bytes(serialization.Encoding.PEM)


def private_pem(key: EllipticCurvePrivateKey) -> bytes:
    """PKCS #8 without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
