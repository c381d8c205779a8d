"""Header blocks without compression state (RFC 7541).

With a dynamic table of size 0 on both sides, a block means the same whatever came before it, so
a field can be cut out of it, or added at its end, and the rest passes as it was written.
`split` reads such a block. `StatefulDecoder` reads the blocks that come before the peer has
acknowledged HEADER_TABLE_SIZE=0, and turns them into stateless ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from torpor_router.h2.faults import ConnectionFault, TooManyFields
from torpor_router.h2.fields import Field, flaw
from torpor_router.h2.huffman import decode as decode_huffman
from torpor_router.h2.wire import ErrorCode

_PATIENCE: Final = 50  # largest header lists that a peer may send before its acknowledgement
FIELD_OVERHEAD: Final = 32  # what a field counts beside its name and value (RFC 9113 section 6.5.2)
TABLE_SIZE_ZERO: Final = b"\x20"  # a dynamic table size update to 0 (RFC 7541 section 6.3)

_STATIC: tuple[tuple[bytes, bytes], ...] = tuple(HeaderTable.STATIC_TABLE)
_CACHED_STRING: Final = 512  # longer Huffman strings are decoded anew each time

_NEVER_INDEXED: Final = 0x10  # the form in which a client marks what is sensitive (section 6.2.3)
_SECRET: Final = frozenset(
    (b"authorization", b"satellite_token", b"cookie", b"proxy-authorization")
)

# Fields read before, by the octets that represent them: most of a client's requests differ in
# one field only (`grpc-timeout`, a trace), and reading them whole cost six times as much. All
# connections share them, so a field that may hold a secret is remembered by its own alone.
Fields = dict[bytes, Field]
_known: Fields = {}
_KNOWN_FIELDS: Final = 4_096
_OWN_FIELDS: Final = 16
_KNOWN_SIZE: Final = 512  # octets


class HeaderLimits(NamedTuple):
    """What one header list may be: octets as RFC 9113 section 6.5.2 counts them, and fields.

    To read a field costs about the same whatever its size, so that octets alone do not bound it.
    """

    octets: int
    fields: int


def _bad(why: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, why)


@lru_cache(maxsize=4096)
def _huffman_cached(octets: bytes) -> bytes:
    return _decoded(octets)


def _huffman(octets: bytes, *, cached: bool) -> bytes:
    if cached and len(octets) <= _CACHED_STRING:
        return _huffman_cached(octets)
    return _decoded(octets)


def _decoded(octets: bytes) -> bytes:
    text = decode_huffman(octets)
    if text is None:
        raise _bad("invalid Huffman string")
    return text


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer with a prefix of `mask` (section 5.1), and where it ends."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise _bad("integer too long")


def _string(block: bytes, at: int, *, secret: bool = False) -> tuple[bytes, int]:
    huffman = block[at] & 0x80
    size, at = _integer(block, at, 0x7F)
    end = at + size
    if end > len(block):
        raise _bad("string runs over the end of the block")
    octets = block[at:end]
    return (_huffman(octets, cached=not secret) if huffman else octets), end


def _field(block: bytes, at: int) -> tuple[bytes, bytes, int]:
    first = block[at]
    if first & 0x80:  # indexed (section 6.1)
        index, at = _integer(block, at, 0x7F)
        if not 0 < index <= len(_STATIC):
            raise _bad("index outside the static table")
        name, value = _STATIC[index - 1]
        return name, value, at
    if first & 0x60 == 0x20:
        raise _bad("table size update after a field")
    # literal: with incremental indexing (6.2.1, moot with an empty table), without, or never
    index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
    if index == 0:
        name, at = _string(block, at)
    elif index <= len(_STATIC):
        name = _STATIC[index - 1][0]
    else:
        raise _bad("index outside the static table")
    value, at = _string(block, at, secret=is_secret(first, name))
    return name, value, at


def is_secret(first: int, name: bytes) -> bool:
    """Whether a field that begins with the octet `first` is not to be kept by the process."""
    return first & 0xF0 == _NEVER_INDEXED or name in _SECRET


def split(block: bytes, limits: HeaderLimits, own: Fields) -> list[Field]:
    """The fields of a stateless block. `own` remembers what only this connection may.

    Raises:
        ConnectionFault: COMPRESSION_ERROR, also when the block refers to a dynamic table.
        TooManyFields: the header list is over one of `limits`; the rest was not read.
    """
    fields: list[Field] = []
    most, most_fields = limits
    at, end, total = 0, len(block), 0
    try:
        while at < end and block[at] & 0xE0 == 0x20:
            size, at = _integer(block, at, 0x1F)
            if size:
                raise _bad("table size update over the acknowledged size")
        while at < end:
            start = at
            at = _end_of_field(block, at)
            octets = block[start:at]
            field = _known.get(octets) or own.get(octets) or _read(octets, own)
            total += len(field.name) + len(field.value) + FIELD_OVERHEAD
            fields.append(field)
            if total > most or len(fields) > most_fields:
                raise TooManyFields
    except IndexError as error:
        raise _bad("block ends inside a field") from error
    return fields


def _end_of_field(block: bytes, at: int) -> int:
    """Where the field that begins at `at` ends; perhaps behind the block's end."""
    first = block[at]
    if first & 0x80:
        return _integer(block, at, 0x7F)[1]
    index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
    if index == 0:
        size, at = _integer(block, at, 0x7F)
        at += size
    size, at = _integer(block, at, 0x7F)
    return at + size


def _read(octets: bytes, own: Fields) -> Field:
    name, value, _ = _field(octets, 0)
    field = Field(name, value, octets, flaw(name, value))
    if len(octets) <= _KNOWN_SIZE:
        keep, most = (own, _OWN_FIELDS) if is_secret(octets[0], name) else (_known, _KNOWN_FIELDS)
        if len(keep) >= most:
            keep.clear()
        keep[octets] = field
    return field


def literal(name: bytes, value: bytes) -> bytes:
    """A literal field without indexing (section 6.2.2), no Huffman coding."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < 0x7F:
        return bytes((size,))
    octets = bytearray((0x7F,))
    size -= 0x7F
    while size >= 0x80:
        octets.append(size & 0x7F | 0x80)
        size >>= 7
    octets.append(size)
    return bytes(octets)


def encode(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(literal(name, value) for name, value in pairs)


class StatefulDecoder:
    """Decodes the blocks of a peer that may still use its dynamic table, every one in order.

    Each block has to be decoded even where it is refused, or the table would be out of step. So
    there is a bound to what all of them together may hold: `_PATIENCE` times the largest list.

    The first block finds an empty table, and most clients' first is their only one before they
    acknowledge: if it refers to nothing, it is read as those after the acknowledgement are, and
    decoded only when another one follows. `own` is as for `split`.
    """

    __slots__ = ("_decoder", "_first", "_left", "_limits", "_own")

    def __init__(self, limits: HeaderLimits, own: Fields | None = None) -> None:
        self._limits = limits
        self._left = _PATIENCE * limits.fields
        self._own = {} if own is None else own
        self._first: bytes | None = None
        self._decoder: Decoder | None = None

    def split(self, block: bytes) -> list[Field]:
        """Read a block as `split` does; the `wire` of each field is stateless in any case.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, or ENHANCE_YOUR_CALM for a list far over the
                limits, or too many blocks before HEADER_TABLE_SIZE=0 was acknowledged.
            TooManyFields: the list is over the limits.
        """
        count = _count_fields(block, 2 * self._limits.fields)
        self._left -= count
        if count > 2 * self._limits.fields or self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header fields far over the limit")
        if self._decoder is None:
            if self._first is None:
                self._first = block
                try:
                    return split(block, self._limits, self._own)
                except (ConnectionFault, TooManyFields):
                    self._first = b""  # it is decoded now
            self._begin(self._first)
        try:
            pairs = self._decode(block)
        except OversizedHeaderListError as error:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "header list far over the limit"
            ) from error
        except HPACKError as error:
            raise _bad("invalid header block") from error
        octets = sum(len(n) + len(v) + FIELD_OVERHEAD for n, v in pairs)
        if octets > self._limits.octets or len(pairs) > self._limits.fields:
            raise TooManyFields
        return [_stateless(name, value) for name, value in pairs]

    def _begin(self, first: bytes) -> None:
        # Past hpack's own limit the table is out of step and only GOAWAY is left; leave room so
        # that a list a little over our limit is still refused politely.
        self._decoder = Decoder(max_header_list_size=4 * self._limits.octets)
        if first:
            self._decode(first)

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        assert self._decoder is not None
        return [(bytes(n), bytes(v)) for n, v in self._decoder.decode(block, raw=True)]


def _count_fields(block: bytes, most: int) -> int:
    """How many fields a block has, `most` + 1 for any more; nothing is decoded."""
    at, count = 0, 0
    try:
        while at < len(block) and count <= most:
            if block[at] & 0xE0 == 0x20:
                at = _integer(block, at, 0x1F)[1]
                continue
            at = _end_of_field(block, at)
            count += 1
    except IndexError as error:
        raise _bad("block ends inside a field") from error
    return count


def _stateless(name: bytes, value: bytes) -> Field:
    return Field(name, value, literal(name, value), flaw(name, value))
