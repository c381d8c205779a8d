"""What gives a tenant away: octets that stand in all that it says, and in nothing else."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from hpack import Decoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_NONCE = 16  # hexadecimal digits
_LONGEST = 1_024  # octets that any mark may have


def huffman(octets: bytes) -> bytes:
    return bytes(_HUFFMAN.encode(octets))


@dataclass(frozen=True)
class Tenant:
    """`secret` stands in each of its headers, messages, trailers and certificates."""

    org: str
    token: str
    secret: bytes = field(default_factory=lambda: secrets.token_hex(12).encode())

    @property
    def word(self) -> bytes:
        return self.org.encode() + b"-canary-" + self.secret

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    def says(self, nonce: bytes) -> bytes:
        return self.word + b"." + nonce

    @property
    def marks(self) -> tuple[bytes, ...]:
        """The forms in which it may pass: as it is, and as a Huffman-coded field's beginning."""
        return self.secret, huffman(self.word)[:-1]


def new_nonce() -> bytes:
    return secrets.token_hex(_NONCE // 2).encode()


class Watch:
    """Looks through one direction of a connection, however it is cut into reads.

    `found` is what must never come: another tenant's marks, or, in a request, a credential.
    """

    def __init__(self, own: Tenant, others: list[Tenant]) -> None:
        self._bad = {mark: f"{each.org}'s canary" for each in others for mark in each.marks}
        self._tokens = {each.token.encode(): each.org for each in (own, *others)}
        self._own = own.secret
        self._nonce = re.compile(re.escape(own.word) + rb"\.([0-9a-f]{%d})" % _NONCE)
        self._seen = b""
        self.found: list[str] = []
        self.own = 0  # times that its own tenant's canary came
        self.nonces: set[bytes] = set()

    def feed(self, octets: bytes) -> None:
        seen = self._seen + octets
        for mark, what in self._bad.items():
            if mark in seen:
                self.found.append(what)
        self.own += octets.count(self._own)
        self.nonces.update(self._nonce.findall(seen))
        self._seen = seen[-_LONGEST:]

    def look_for_credentials(self, block: bytes) -> None:
        """In a whole header block that depends on no table.

        Only where a client showed them: one that flips a bit in `authorization` itself has sent
        a field of another name, which is the worker's.
        """
        for name, value in Decoder().decode(block, raw=True):
            if name in (b"authorization", b"satellite_token"):
                shown = [org for token, org in self._tokens.items() if token in value]
                self.found += [f"{org}'s token" for org in shown]
