"""A certificate for `localhost`, made for one run."""

from __future__ import annotations

from pathlib import Path

import trustme
from doorbench.subject import Certificate


def certificate(folder: Path) -> Certificate:
    issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(
        "localhost", key_type=trustme.KeyType.ECDSA
    )
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return Certificate(chain, key)
