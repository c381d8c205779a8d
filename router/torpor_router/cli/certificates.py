"""`torpor cert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import note
from torpor_router.cli.arguments import ROLES
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.revocations import RevokedCertificate
    from torpor_statemachine.postgres.pool import Database

_KINDS = {"serial": "with the serial number", "sha256": "with the SHA-256"}


@click.group()
def cert() -> None:
    """Revoke client certificates, and say what others may do.

    CERTIFICATE is a PEM file, or a serial number or SHA-256 in hex.
    """


@cert.command()
@click.argument("certificate")
@click.option("--reason", default="", help="For those who look later; 200 characters at most.")
@with_storage
@with_output
def revoke(certificate: str, reason: str, output: Output, storage: Storage) -> None:
    """Refuse a certificate: within 2 seconds it opens no stream, and its open connections end."""
    id_ = _id(certificate)

    async def work(database: Database) -> RevokedCertificate:
        from torpor_router.access.revocations import Revocations

        revoked = await Revocations(database).revoke(id_, reason)
        await note(database, "cert revoke", "", id_, after={"reason": reason})
        return revoked

    _report("Revoked", storage.run(work), output)


@cert.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List the certificates that are revoked."""

    async def work(database: Database) -> list[RevokedCertificate]:
        from torpor_router.access.revocations import Revocations

        return await Revocations(database).all()

    revoked = storage.run(work)
    if output.as_json:
        output.json(revoked)
        return
    output.table(
        ["kind", "certificate", "revoked", Column("reason", wraps=True)],
        [(each.kind, each.id, each.revoked_at, each.reason) for each in revoked],
        empty="No certificate is revoked.",
    )


@cert.command()
@click.argument("certificate")
@with_storage
@with_output
def restore(certificate: str, output: Output, storage: Storage) -> None:
    """Take a revocation back, named as it was revoked."""
    id_ = _id(certificate)

    async def work(database: Database) -> RevokedCertificate:
        from torpor_router.access.revocations import Revocations

        restored = await Revocations(database).restore(id_)
        await note(database, "cert restore", "", id_)
        return restored

    _report("Restored", storage.run(work), output)


@cert.command(name="set")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--org", required=True, help="Whose it is; as its URI SAN says.")
@click.option("--role", type=ROLES, required=True)
@with_storage
@with_output
def change(*, file: Path, org: str, role: str, output: Output, storage: Storage) -> None:
    """Say what a certificate may do; without a record it may build and wake ('ci')."""
    from torpor_router.access.revocations import id_of_file

    fingerprint = id_of_file(file)

    async def work(database: Database) -> None:
        from torpor_router.access.issued import IssuedCertificates
        from torpor_router.access.roles import Role

        await IssuedCertificates(database).record(org, fingerprint, Role(role))
        await note(database, "cert set", org, fingerprint, after={"role": role})

    storage.run(work)
    output.answer(
        {"org": org, "fingerprint": fingerprint, "role": role},
        f"The certificate of {org} is now {role}.",
    )


def _id(certificate: str) -> str:
    from torpor_router.access.revocations import certificate_id, id_of_file, looks_like_id

    if looks_like_id(certificate):
        return certificate_id(certificate)
    return id_of_file(Path(certificate))


def _report(done: str, certificate: RevokedCertificate, output: Output) -> None:
    output.answer(
        certificate, f"{done} the certificate {_KINDS[certificate.kind]} {certificate.id}."
    )
