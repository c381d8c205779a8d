"""Where the CA's key is kept: in a file of mode 0600, or as ``aws:NAME`` in AWS Secrets Manager.

It is read each time that it is needed and kept nowhere, so another key needs no restart.
"""

from __future__ import annotations

import os
from pathlib import Path

from torpor_router.access.ca.authority import ClientAuthority
from torpor_router.access.ca.errors import AuthorityExists, UnusableAuthority

SECRET = "aws:"  # noqa: S105 - a prefix


def read_authority(certificates: Path, key: str) -> ClientAuthority:
    """The CA of the `key` among the `certificates`.

    Raises:
        UnusableAuthority: they cannot be read, or do not belong together.
    """
    try:
        pem = certificates.read_bytes()
        private = _secret(key) if key.startswith(SECRET) else Path(key).read_bytes()
    except OSError as error:
        raise UnusableAuthority(f"{error.filename}: {error.strerror}") from error
    return ClientAuthority.read(pem, private)


def keep_authority(made: ClientAuthority, certificate: Path, key: str) -> None:
    """Write a new CA down; neither place may be taken.

    Raises:
        AuthorityExists, UnusableAuthority: nothing was written.
    """
    if certificate.exists():
        raise AuthorityExists(str(certificate))
    if key.startswith(SECRET):
        _keep_secret(key, made.key_pem)
    else:
        keep_new(Path(key), made.key_pem)
    keep_new(certificate, made.pem, mode=0o644)


def keep_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file that must not be there yet, and that nobody else could ever read.

    Raises:
        AuthorityExists, UnusableAuthority: it was not written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise AuthorityExists(str(path)) from None
    except OSError as error:
        raise UnusableAuthority(f"{path}: {error.strerror}") from error


def _secret(key: str) -> bytes:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    name = key.removeprefix(SECRET)
    try:
        found = boto3.client("secretsmanager").get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        raise UnusableAuthority(f"{key}: {error}") from error
    return str(found.get("SecretString", "")).encode()


def _keep_secret(key: str, content: bytes) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("secretsmanager")
    try:
        client.create_secret(Name=key.removeprefix(SECRET), SecretString=content.decode())
    except client.exceptions.ResourceExistsException:
        raise AuthorityExists(key) from None
    except (BotoCoreError, ClientError) as error:
        raise UnusableAuthority(f"{key}: {error}") from error
