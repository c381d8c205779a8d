"""Client certificates that are revoked: named, kept, taken back; and how nodes learn of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import LONG, until

from torpor_router.access.directory import Directory
from torpor_router.access.errors import (
    AlreadyRevoked,
    CertificateEnded,
    CertificateRevoked,
    NotRevoked,
    OtherSatellite,
    UnknownCertificate,
    UnusableCertificate,
)
from torpor_router.access.lookups import QUERY_TIMEOUT
from torpor_router.access.revocation_cache import RevocationCache
from torpor_router.access.revocations import Revocations, certificate_id, id_of_file
from torpor_router.routing import Ask, Certificate
from torpor_router.tokens import digest
from torpor_statemachine.postgres.pool import Database

PROMISED = 2.0 - 0.25  # seconds; the relay itself adds a quarter
MINE = Certificate("acme", None, serial="2a", fingerprint="ab" * 32)
BY_MINE = Ask("acme", "one", None, MINE)


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("2A", "2a"),
        ("00:2a", "2a"),
        ("0", "0"),
        ("7" + "f" * 39, "7" + "f" * 39),
        ("AB:" * 31 + "AB", "ab" * 32),
    ],
)
def test_as_tools_print_it(text: str, id_: str) -> None:
    assert certificate_id(text) == id_


@pytest.mark.parametrize(
    "text", ["", "xyz", "-1", "8" + "0" * 39, "f" * 63, "f" * 65, "2a\n", "2a:", "٣", "1" * 9_999]
)
def test_what_is_no_name_of_a_certificate(text: str) -> None:
    with pytest.raises(UnusableCertificate, match="TPR-1119"):
        certificate_id(text)


@given(st.integers(0, 2**159 - 1))
def test_every_serial_number_is_kept_in_one_form(serial: int) -> None:
    octets = serial.to_bytes(20, "big").hex(":").upper()
    assert certificate_id(f"{serial:X}") == certificate_id(octets) == f"{serial:x}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
)
def test_a_file_without_a_certificate(tmp_path: Path, content: str) -> None:
    file = tmp_path / "client.pem"
    file.write_text(content)
    with pytest.raises(UnusableCertificate, match=r"client\.pem"):
        id_of_file(file)
    with pytest.raises(UnusableCertificate, match=r"none\.pem"):
        id_of_file(tmp_path / "none.pem")


async def test_revoked_listed_and_restored(database: Database) -> None:
    revocations = Revocations(database)
    made = await revocations.revoke("2a", "laptop lost")
    assert (made.kind, made.reason) == ("serial", "laptop lost")
    assert (await revocations.revoke("ab" * 32)).kind == "sha256"
    with pytest.raises(AlreadyRevoked):
        await revocations.revoke("2a")
    assert {each.id for each in await revocations.all()} == {"2a", "ab" * 32}
    assert await revocations.restore("2a") == made
    with pytest.raises(NotRevoked):
        await revocations.restore("2a")


@pytest.mark.parametrize("reason", ["x" * 201, "a\nb", "\0"])
async def test_a_reason_that_cannot_be_kept(database: Database, reason: str) -> None:
    with pytest.raises(UnusableCertificate):
        await Revocations(database).revoke("2a", reason)


@pytest.mark.parametrize("id_", [MINE.serial, MINE.fingerprint])
@pytest.mark.parametrize("poll_only", [False, True])
async def test_a_revoked_certificate_is_out_within_two_seconds(
    database_url: str, satellite, id_: str, poll_only: bool
) -> None:
    await satellite("acme/one")
    other = replace(MINE, serial="2b", fingerprint="cd" * 32)
    async with (
        Database(database_url, poll_only=poll_only) as database,
        Directory(database) as directory,
    ):
        told: list[set[str]] = []
        directory.on_refused(lambda ids: told.append(set(ids)))
        assert (await directory.route(BY_MINE)).caller == "certificate:acme/2a"
        await directory.route(replace(BY_MINE, certificate=other))
        assert not directory.is_refused(MINE)
        await Revocations(database).revoke(id_)
        async with asyncio.timeout(PROMISED):
            while not told or directory.route_now(BY_MINE) is not None:
                await asyncio.sleep(0.02)
        assert told == [{id_}]
        assert directory.is_refused(MINE)
        assert not directory.is_refused(other)
        with pytest.raises(CertificateRevoked):
            await directory.route(BY_MINE)
        assert (await directory.route(replace(BY_MINE, certificate=other))).org == "acme"
        await Revocations(database).restore(id_)
        async with asyncio.timeout(LONG):
            while directory.is_refused(MINE) or directory.route_now(BY_MINE) is None:
                with suppress(CertificateRevoked):
                    await directory.route(BY_MINE)
                await asyncio.sleep(0.02)
        assert told == [{id_}]


async def test_what_was_revoked_before_the_node_came_is_known(database: Database) -> None:
    await Revocations(database).revoke(MINE.serial)
    async with Directory(database) as directory:
        told = asyncio.Event()
        directory.on_refused(lambda _: told.set())
        await asyncio.wait_for(told.wait(), LONG)
        assert directory.is_refused(MINE)


async def test_a_revocation_while_the_node_was_cut_off_is_heard_of(wire, database) -> None:
    async with Database(wire.url) as cut_off, Directory(cut_off) as directory:
        told: list[set[str]] = []
        directory.on_refused(lambda ids: told.append(set(ids)))
        await Revocations(database).revoke("1")
        await until(lambda: told)
        await wire.cut()
        await Revocations(database).revoke(MINE.serial)
        await wire.mend()
        await until(lambda: directory.is_refused(MINE))
        assert told == [{"1"}, {MINE.serial}]


async def test_nothing_is_asked_where_nobody_wants_to_know(database, monkeypatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(RevocationCache, "refresh", lambda *given: asked.append(given))
    async with Directory(database) as directory:
        with pytest.raises(UnknownCertificate):
            await directory.route(BY_MINE)
    assert not asked


async def test_nothing_is_known_while_nobody_needs_it(database: Database) -> None:
    """Else who is let in again would be shut out by what was known when somebody last needed it."""
    needed = True
    told: list[set[str]] = []
    revocations = Revocations(database)
    await revocations.revoke(MINE.serial)
    async with Directory(database) as directory:
        directory.on_refused(lambda ids: told.append(set(ids)), lambda: needed)
        async with asyncio.timeout(LONG):
            await until(lambda: directory.is_refused(MINE))
            needed = False
            await until(lambda: not directory.is_refused(MINE))
            await revocations.revoke("2b")
            needed = True
            await until(lambda: len(told) >= 2)
        assert told == [{MINE.serial}, {MINE.serial, "2b"}]


async def test_a_token_beside_a_revoked_certificate_does_not_help(
    database: Database, store, satellite
) -> None:
    await satellite("acme/one")
    _, text = await store.create_token("acme", "ci")
    await Revocations(database).revoke(MINE.serial)
    async with Directory(database) as directory:
        with pytest.raises(CertificateRevoked):
            await directory.route(replace(BY_MINE, token_hash=digest(text)))


async def test_a_certificate_past_its_end_is_out_though_the_database_is_away(
    wire, satellite
) -> None:
    await satellite("acme/one")
    short = replace(MINE, ends=time.time() + 3.0)
    ask = replace(BY_MINE, certificate=short)
    async with Database(wire.url) as database, Directory(database) as directory:
        await directory.route(ask)
        await wire.cut()
        await until(lambda: directory.route_now(ask) is None)
        assert time.time() >= short.ends - QUERY_TIMEOUT, "counted from when the question was put"
        await wire.mend()
        with pytest.raises(CertificateEnded):
            await directory.route(ask)


async def test_a_certificate_of_one_satellite_opens_that_one_alone(
    database: Database, store, satellite
) -> None:
    one = await satellite("acme/one")
    await satellite("acme/two")
    of_one = replace(MINE, satellite="one")
    async with Directory(database) as directory:
        assert (await directory.route(Ask("acme", "one", None, of_one))).satellite_id == one
        with pytest.raises(OtherSatellite, match="acme/one"):
            await directory.route(Ask("acme", "two", None, of_one))
        with pytest.raises(OtherSatellite):  # whether there is one or not
            await directory.route(Ask("acme", "none", None, of_one))
