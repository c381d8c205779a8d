"""What of a request's header block decides, found without decoding the block.

A client's requests differ all the time, in a path, a trace's id or a timeout, but what decides
where they go and for whom hardly does. `OutlineReader.read` puts the octets of the fields that
decide together: two blocks with the same of them have the same answer. All other fields are only
looked at until it is certain that they may stand there (RFC 9113 section 8.2).

It reads what clients send, in the forms in which they send it. Of anything else it says None, and
the caller decodes the block: so no rule is written twice, and none is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final, NamedTuple

from torpor_router.h2.blocks import FIELD_OVERHEAD, HeaderLimits, is_secret, split
from torpor_router.h2.faults import ConnectionFault, TooManyFields
from torpor_router.h2.fields import bad_value, flaw
from torpor_router.h2.huffman import common_start, is_sound

# What the name of a field says about it.
_PLAIN: Final = 0  # any value that is sound may stand there
_BINARY: Final = 1  # any octets may
_DECIDES: Final = 2
_PSEUDO: Final = 3  # decides, and stands before all others
_PATH: Final = 4  # the same, but for a path that decides nothing
_BY_VALUE: Final = 5  # some values may stand there
_SECRET: Final = 6  # any value that is sound may, and it is not to be remembered
_NEVER: Final = 7  # to be decoded
_CUT: Final = 8  # decides, and may be cut out: this much and more, by name

_VALUE: Final = b"\x01x"  # a string that may be the value of nearly any name
# Stands for a path that decides nothing; no request has an empty one
_ANY_PATH: Final = b"\x04\x00"
_PSEUDO_NAMES: Final = frozenset((b":method", b":scheme", b":authority"))
_LARGEST: Final = 8_192  # octets of a block; a larger one is decoded
# What a field counts at most beside its octets in the block: what RFC 9113 adds to it, and a name
# and value of the static table.
_FIELD: Final = FIELD_OVERHEAD + 32
_NAMES: Final = 1_024  # remembered, by the octets that represent them
_NAME_SIZE: Final = 160  # octets
_FIELDS: Final = 4_096  # remembered to be sound
_FIELD_SIZE: Final = 256
# Of fields that were not known to be sound, so many are checked for each remembered
_OFTEN: Final = 8
_ALONE: Final = HeaderLimits(1 << 20, 1)


class Outline(NamedTuple):
    """`key` are the octets that decide. `cuts` are the fields that may be cut out of the block:
    which name it is (its place among those that the reader was given), start and end. `path` is
    the path's value, as it stands in the block."""

    key: bytes
    cuts: list[tuple[int, int, int]]
    path: bytes

    def cut(self, block: bytes, names: Set[int]) -> bytes:
        """The block without its fields of these names."""
        parts, at = [], 0
        for name, start, end in self.cuts:
            if name in names:
                parts.append(block[at:start])
                at = end
        parts.append(block[at:])
        return b"".join(parts)


class OutlineReader:
    """Reads blocks for which the same fields decide; one for all connections of a process.

    `deciding` are the names of those fields; `cut` more of them, which may be cut out; `never`
    names whose requests are always decoded. A path decides where it begins as one of `paths` does.
    """

    __slots__ = ("_coded_paths", "_kinds", "_missed", "_names", "_paths", "_sound")

    def __init__(
        self,
        *,
        deciding: Iterable[bytes],
        cut: Iterable[bytes],
        never: Iterable[bytes],
        paths: Iterable[bytes],
    ) -> None:
        self._kinds = {
            **dict.fromkeys(_PSEUDO_NAMES, _PSEUDO),
            b":path": _PATH,
            b"te": _BY_VALUE,
            **dict.fromkeys(deciding, _DECIDES),
            **dict.fromkeys(never, _NEVER),
            **{name: _CUT + place for place, name in enumerate(cut)},
        }
        self._paths = tuple(paths)
        self._coded_paths = tuple(common_start(each) for each in self._paths)
        self._names: dict[bytes, int] = {}
        self._sound: set[bytes] = set()
        self._missed = 0

    def __repr__(self) -> str:
        return f"<OutlineReader that knows {len(self._names)} names, {len(self._sound)} fields>"

    def read(self, block: bytes, limits: HeaderLimits) -> Outline | None:  # noqa: C901, PLR0911, PLR0912, PLR0915 - calls cost more than the work
        """Read a stateless block. None: it is to be decoded, or only decoding can tell."""
        end = len(block)
        if end > _LARGEST:
            return None
        names, sound = self._names, self._sound
        key: list[bytes] = []
        cuts: list[tuple[int, int, int]] = []
        at = count = 0
        regular = False
        path = b""
        try:
            while at < end:
                start = at
                count += 1
                first = block[at]
                if first & 0x80:  # the whole field by its index
                    at += 1
                    named = block[start:at]
                    value_at, size = at, 0
                else:
                    if first & 0x40:
                        index, mask = first & 0x3F, 0x3F
                    else:
                        index, mask = first & 0x0F, 0x0F
                    if first & 0x60 == 0x20:
                        return None  # a table size update
                    at += 1
                    if not index:
                        size = block[at] & 0x7F
                        if size == 0x7F:
                            return None
                        at += 1 + size
                    elif index == mask:
                        if block[at] & 0x80:
                            return None
                        at += 1
                    named = block[start:at]
                    value_at = at + 1
                    size = block[at] & 0x7F
                    if size == 0x7F:
                        more = block[value_at]
                        size += more & 0x7F
                        value_at += 1
                        if more & 0x80:
                            more = block[value_at]
                            if more & 0x80:
                                return None
                            size += more << 7
                            value_at += 1
                    at = value_at + size
                kind = names.get(named)
                if kind is None:
                    kind = self._learn(named)
                if kind == _PLAIN:
                    regular = True
                    octets = block[start:at]
                    if octets not in sound and not self._check(
                        octets, len(named), value_at - start
                    ):
                        return None
                elif kind >= _CUT:
                    regular = True
                    cuts.append((kind - _CUT, start, at))
                    key.append(block[start:at])
                elif kind == _DECIDES:
                    regular = True
                    key.append(block[start:at])
                elif kind == _PSEUDO:
                    if regular:
                        return None
                    key.append(block[start:at])
                elif kind == _PATH:
                    if regular or not size:
                        return None
                    path = block[value_at:at]
                    coded = block[start + len(named)] & 0x80
                    if path.startswith(self._coded_paths if coded else self._paths):
                        key.append(block[start:at])
                    elif is_sound(path) if coded else not bad_value(path):
                        key.append(_ANY_PATH)
                    else:
                        return None
                elif kind == _BINARY:
                    regular = True
                    if block[start + len(named)] & 0x80 and not is_sound(block[value_at:at]):
                        return None
                elif kind == _BY_VALUE:
                    regular = True
                    octets = block[start:at]
                    if octets not in sound and not self._is_flawless(octets):
                        return None
                elif kind == _SECRET:
                    regular = True
                    if not _is_sound(block[start:at], len(named), value_at - start):
                        return None
                else:
                    return None
        except IndexError:
            return None
        if at != end or count > limits.fields or 2 * end + count * _FIELD > limits.octets:
            return None
        return tuple.__new__(Outline, (b"".join(key), cuts, path))  # its own is written in Python

    def _learn(self, named: bytes) -> int:
        """What the name says that these octets stand for: a name, or a whole field by its index."""
        if len(named) > _NAME_SIZE:
            return _NEVER
        try:
            [field] = split(named if named[0] & 0x80 else named + _VALUE, _ALONE, {})
        except (ConnectionFault, TooManyFields, ValueError):
            return _NEVER
        kind = self._kinds.get(field.name)
        if kind is None:
            if field.name[:1] == b":" or flaw(field.name, b""):
                kind = _NEVER
            elif is_secret(named[0], field.name):
                kind = _SECRET
            else:
                kind = _BINARY if field.name.endswith(b"-bin") else _PLAIN
        if len(self._names) >= _NAMES:
            self._names.clear()
        self._names[named] = kind
        return kind

    def _check(self, octets: bytes, size_at: int, value_at: int) -> bool:
        """Whether a field of any sound value may stand in a request; remember some that may.

        Of values that are new every time most are not remembered: that would cost more than
        looking at them.
        """
        if not _is_sound(octets, size_at, value_at):
            return False
        self._missed += 1
        if not self._missed % _OFTEN and len(octets) <= _FIELD_SIZE:
            self._remember(octets)
        return True

    def _is_flawless(self, octets: bytes) -> bool:
        """The same for a field whose name does not allow every value."""
        try:
            [field] = split(octets, _ALONE, {})
        except (ConnectionFault, TooManyFields, ValueError):
            return False
        if field.flaw:
            return False
        self._remember(octets)
        return True

    def _remember(self, octets: bytes) -> None:
        if len(self._sound) >= _FIELDS:
            self._sound.clear()
        self._sound.add(octets)


def _is_sound(octets: bytes, size_at: int, value_at: int) -> bool:
    """Whether the value of a field, whose size stands at `size_at`, is sound."""
    if size_at == len(octets):  # by its index, from the static table
        return True
    value = octets[value_at:]
    return is_sound(value) if octets[size_at] & 0x80 else not bad_value(value)
