"""The CA for client certificates: what it issues, what it refuses, and where its key is kept."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from moto import mock_aws

from torpor_provisioner.errors import TorporError
from torpor_router.access.ca.authority import LONGEST, ClientAuthority
from torpor_router.access.ca.errors import (
    AuthorityExists,
    BadCertificateLifetime,
    BadCertificateRequest,
    UnusableAuthority,
)
from torpor_router.access.ca.keys import keep_authority, read_authority
from torpor_router.access.ca.requests import LARGEST, key_in, new_request
from torpor_router.access.errors import UnusableName
from torpor_router.routing import identity

DAY = timedelta(days=1)


def request_of(key, *, prehashed: bool = True) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root of all")])
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(key, hashes.SHA256() if prehashed else None)
    )
    return signed.public_bytes(serialization.Encoding.DER)


def test_what_it_issues_is_for_a_client_and_one_satellite() -> None:
    ca = ClientAuthority.make("ours")
    key, request = new_request("root of all")
    signed = ca.issue(key_in(request), "laptop", org="acme", satellite="one", lives=DAY)
    read = x509.load_pem_x509_certificate(signed.pem)
    [own] = x509.load_pem_x509_certificates(ca.pem)
    read.verify_directly_issued_by(own)
    assert read.public_key() == serialization.load_pem_private_key(key, None).public_key()
    assert read.subject.rfc4514_string() == "OU=on record,CN=laptop", "not what the request says"
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [uri] = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert identity(uri) == ("acme", "one")
    uses = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert signed.serial == f"{read.serial_number:x}"
    assert signed.fingerprint == read.fingerprint(hashes.SHA256()).hex()
    assert read.not_valid_after_utc == signed.ends


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA"],
)
def test_keys_of_several_kinds_are_signed(key) -> None:
    assert key_in(request_of(key)) == key.public_key()


def test_an_ed25519_key_is_signed() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert key_in(request_of(key, prehashed=False)) == key.public_key()


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"no request",
        b"-----BEGIN CERTIFICATE REQUEST-----\n\n-----END CERTIFICATE REQUEST-----\n",
        b"\x30" * (LARGEST + 1),
        request_of(ec.generate_private_key(ec.SECP521R1())),
        request_of(rsa.generate_private_key(65537, 1024)),
        new_request("x")[0],
    ],
    ids=["empty", "text", "hollow", "large", "P-521", "weak", "a key"],
)
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    with pytest.raises(BadCertificateRequest):
        key_in(request_)


def test_a_request_with_anothers_key_is_refused() -> None:
    der = request_of(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(BadCertificateRequest):
        key_in(der[:-1] + bytes([der[-1] ^ 1]))


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"lives": LONGEST + DAY}, BadCertificateLifetime),
        ({"lives": timedelta(seconds=1)}, BadCertificateLifetime),
        ({"org": "Acme"}, UnusableName),
        ({"satellite": "a/b"}, UnusableName),
        ({"satellite": ""}, UnusableName),
        ({"subject": ""}, UnusableName),
        ({"subject": "x" * 65}, UnusableName),
        ({"subject": "a\nb"}, UnusableName),
    ],
)
def test_what_cannot_be_issued(changed, refusal: type[TorporError]) -> None:
    asked = {"subject": "laptop", "org": "acme", "satellite": None, "lives": DAY, **changed}
    with pytest.raises(refusal):
        ClientAuthority.make("ours").issue(key_in(new_request("x")[1]), **asked)


def test_nothing_outlives_the_ca_or_the_token() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    issue: dict[str, Any] = {"key": key_in(new_request("x")[1]), "subject": "a", "org": "acme"}
    issue |= {"satellite": None, "lives": DAY}
    ending = ClientAuthority.make("ours", timedelta(hours=2))
    assert ending.issue(**issue).ends == ending.ends
    whole = ClientAuthority.make("ours")
    assert whole.issue(**issue, no_longer_than=soon).ends == soon.replace(microsecond=0)
    ended = ClientAuthority.make("ours", timedelta(minutes=-1))
    with pytest.raises(UnusableAuthority):
        ended.issue(**issue)


def test_the_key_lies_in_a_file_of_its_owners_alone(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca/ca.pem", tmp_path / "ca/ca.key"
    made = ClientAuthority.make("ours")
    keep_authority(made, certificate, str(key))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    others = ClientAuthority.make("another").pem
    certificate.write_bytes(others + certificate.read_bytes())
    assert read_authority(certificate, str(key)).pem == made.pem, "found among those believed"
    certificate.unlink()
    with pytest.raises(AuthorityExists):
        keep_authority(made, certificate, str(key))
    certificate.write_bytes(others)
    for at, where in ((certificate, key), (tmp_path / "none", key), (key, certificate)):
        with pytest.raises(UnusableAuthority):
            read_authority(at, str(where))


@mock_aws
def test_the_key_lies_in_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    made, certificate = ClientAuthority.make("ours"), tmp_path / "ca.pem"
    keep_authority(made, certificate, "aws:torpor/ca")
    assert read_authority(certificate, "aws:torpor/ca").pem == made.pem
    names = [each["Name"] for each in boto3.client("secretsmanager").list_secrets()["SecretList"]]
    assert names == ["torpor/ca"]
    certificate.unlink()
    with pytest.raises(AuthorityExists):
        keep_authority(made, certificate, "aws:torpor/ca")
    with pytest.raises(UnusableAuthority):
        read_authority(tmp_path / "ca.pem", "aws:none")
