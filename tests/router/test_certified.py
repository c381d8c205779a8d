"""Connections by their certificates: which end, when, and that nothing is kept of the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from torpor_router.access.errors import AuthorityReplaced, CertificateEnded, CertificateRevoked
from torpor_router.certified import Certified
from torpor_router.routing import Certificate


class Connection:
    """As `ClientConnection`, as far as it matters."""

    def __init__(self) -> None:
        self.cuts: list[type] = []
        self.retired: list[str] = []
        self.pair = SimpleNamespace(retire=self.retired.append)

    def cut(self, error: Exception) -> None:
        self.cuts.append(type(error))


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("torpor_router.certified.time.time", lambda: now[0])
    return now


def certificate(serial: str, ends: float = 2_000.0, authority: str = "now") -> Certificate:
    return Certificate("acme", None, serial, f"{int(serial, 16):064x}", ends, authority)


@pytest.fixture
def refused() -> set[str]:
    return set()


@pytest.fixture
def authorities() -> list[frozenset[str]]:
    return [frozenset({"now"})]


@pytest.fixture
def certified(clock, refused, authorities) -> Certified:
    return Certified(lambda each: each.serial in refused, lambda: authorities[0])


def come(certified: Certified, *certificates: Certificate) -> list[Connection]:
    connections = [Connection() for _ in certificates]
    for connection, each in zip(connections, certificates, strict=True):
        certified.came(connection, each)  # type: ignore[arg-type]
    return connections


def test_a_revocation_ends_every_connection_of_the_certificate_at_once(certified) -> None:
    one, same, other = come(certified, certificate("1"), certificate("1"), certificate("2"))
    certified.refuse({certificate("1").fingerprint, "dead"})
    assert (one.cuts, same.cuts, other.cuts) == ([CertificateRevoked], [CertificateRevoked], [])
    certified.refuse({"2"})
    assert other.cuts == [CertificateRevoked]
    assert other.retired[0].startswith("TPR-1106 ")


def test_a_connection_after_the_revocation_ends_at_the_next_look(certified, refused) -> None:
    refused.add("1")
    one, other = come(certified, certificate("1"), certificate("2"))
    certified.look()
    certified.look()
    assert (one.cuts, other.cuts) == ([CertificateRevoked], [])


def test_each_certificate_ends_at_its_time(certified, clock) -> None:
    late, soon = come(certified, certificate("1", 1_020.0), certificate("2", 1_010.0))
    clock[0] = 1_009.0
    certified.look()
    assert not late.cuts + soon.cuts
    clock[0] = 1_010.0
    certified.look()
    certified.look()  # it may take its time to go
    assert (late.cuts, soon.cuts) == ([], [CertificateEnded])
    certified.went(soon, certificate("2", 1_010.0))
    clock[0] = 1_021.0
    certified.look()
    assert (late.cuts, soon.cuts) == ([CertificateEnded], [CertificateEnded])


def test_one_that_has_ended_when_it_comes_stays_to_be_told_why(certified, refused) -> None:
    """Every request of its connection is refused with a code."""
    refused.add("1")
    [ended] = come(certified, certificate("1", 999.0))
    certified.look()
    assert not ended.cuts + ended.retired
    certified.went(ended, certificate("1", 999.0))


def test_connections_end_with_the_authority_that_they_were_believed_for(
    certified, authorities
) -> None:
    before, other = come(certified, certificate("1"), certificate("4", authority="then"))
    authorities[0] = frozenset({"now", "then"})
    certified.look()
    assert not before.cuts + other.cuts + before.retired + other.retired  # one more is no change
    authorities[0] = frozenset({"then"})
    certified.look()
    assert (before.cuts, other.cuts) == ([AuthorityReplaced], [])
    assert before.retired[0].startswith("TPR-1120 ")
    # a handshake that was under way meanwhile
    late, new = come(certified, certificate("2"), certificate("3", authority="then"))
    certified.look()
    assert (late.cuts, new.cuts) == ([AuthorityReplaced], [])


def test_nothing_is_kept_of_connections_that_went(certified, clock) -> None:
    for n in range(1_000):
        own = certificate(f"{n:x}", ends=1_000_000.0 + n)
        [connection] = come(certified, own)
        certified.look()
        certified.went(connection, own)
    certified.came(Connection(), None)
    certified.went(Connection(), None)
    certified.look()
    kept = (certified._connections, certified._by_id, certified._new)
    assert not any(kept)
    certified.refuse({"1"})
