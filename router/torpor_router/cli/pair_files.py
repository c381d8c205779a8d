"""The files of a certificate and its private key: PREFIX.pem, and PREFIX.key of mode 0600."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import click

from torpor_router.cli.client_errors import BadFile


class PairFiles(NamedTuple):
    certificate: Path
    key: Path

    def check(self, *, replace: bool) -> None:
        """
        Raises:
            BadFile: one is there already, and may not be replaced; or the folder is missing.
        """
        for path in self:
            if path.exists() and not replace:
                raise BadFile(f"{path} is there already; --replace writes over it")
        if not self.certificate.parent.is_dir():
            raise BadFile(f"{self.certificate.parent}: there is no such folder")

    def write(self, certificate: bytes, key: bytes | None) -> None:
        """Without `key`, the client has it. Each file is whole at any time.

        Raises:
            BadFile: they cannot be written.
        """
        if key is not None:
            _put(self.key, key, 0o600)
        _put(self.certificate, certificate, 0o644)


def prefixed(prefix: Path) -> PairFiles:
    return PairFiles(prefix.with_name(f"{prefix.name}.pem"), prefix.with_name(f"{prefix.name}.key"))


def _put(path: Path, content: bytes, mode: int) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


OUT = click.Path(path_type=Path, dir_okay=False)
REPLACE = click.option("--replace", is_flag=True, help="Write over files that are there.")
