"""The watch of the two tenants' fuzzing sees what it is there for."""

from __future__ import annotations

import pytest
from tenantfuzz.canary import Tenant, Watch, huffman, new_nonce

from torpor_router.h2.blocks import encode

OWN = Tenant("alpha", "tpr_alphas")
OTHER = Tenant("beta", "tpr_betas")


def watch() -> Watch:
    return Watch(OWN, [OTHER])


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize(
    "octets", [OTHER.says(new_nonce()), huffman(OTHER.says(new_nonce()))], ids=["plain", "huffman"]
)
def test_what_must_not_come_is_seen_in_any_cutting(octets: bytes, size: int) -> None:
    seen = watch()
    whole = bytes(50) + octets + bytes(50)
    for at in range(0, len(whole), size):
        seen.feed(whole[at : at + size])
    assert "beta's canary" in seen.found


@pytest.mark.parametrize("who", [OWN, OTHER])
@pytest.mark.parametrize("name", [b"authorization", b"satellite_token"])
def test_a_credential_in_a_request_is_seen(who: Tenant, name: bytes) -> None:
    seen = watch()
    seen.look_for_credentials(encode(((name, b"Bearer " + who.token.encode()),)))
    assert seen.found == [f"{who.org}'s token"]


def test_its_own_canary_is_no_finding_and_tells_whose_answer_it_was() -> None:
    seen, nonce = watch(), new_nonce()
    said = OWN.says(nonce)
    seen.feed(b"x" + said[:20])
    seen.feed(said[20:] + b"x" + said)
    assert (seen.found, seen.nonces) == ([], {nonce})
