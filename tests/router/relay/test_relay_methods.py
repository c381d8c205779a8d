"""Which method an open stream is of."""

from __future__ import annotations

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from torpor_router.relay.methods import LONGEST, MOST, SHIFT, Methods
from torpor_router.relay.streams import CLIENT_ENDED, EARLY

SOLVE = b"/moby.buildkit.v1.Control/Solve"


def test_a_method_stands_above_the_other_bits_and_is_told_from_them() -> None:
    methods = Methods()
    bits = methods[SOLVE]
    assert EARLY < 1 << SHIFT <= bits
    assert methods.name(bits | CLIENT_ENDED) == SOLVE.decode()
    assert methods[SOLVE] == bits


def test_a_path_in_huffmans_code_is_the_same_method() -> None:
    methods = Methods()
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(SOLVE)
    assert methods.name(methods[coded]) == methods.name(methods[SOLVE]) == SOLVE.decode()


def test_ever_new_paths_only_go_unnamed() -> None:
    methods = Methods()
    for number in range(MOST + 50):
        assert methods[b"/made.up/%d" % number] < 1 << SHIFT << 8
    assert methods.name(methods[b"/one.more/X"]) == ""
    assert methods[b"/made.up/0"] == 1 << SHIFT
    assert len(methods) == MOST


def test_what_is_no_path_has_no_name() -> None:
    methods = Methods()
    for path in (b"/" + b"x" * LONGEST, b"\xff\xff", b"", b"no slash"):
        assert methods.name(methods[path]) == ""
