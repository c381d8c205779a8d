"""Roles on the whole system: a CI job by its identity, a viewer, an operator; and the log."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from e2ekit.deployment import Deployment, Node
from issuerkit.issuer import Issuer
from waiting import LONG

from torpor_provisioner.sample.client import info
from torpor_router.access.audit import Audit
from torpor_router.access.oidc.rules import NewTrustRule
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import Role
from torpor_router.access.store import Store


async def code(node: Node, token: str, satellite: str = "acme/one") -> str:
    """Of the refusal that a build gets; "ok" where it gets an answer."""
    metadata = (("satellite", satellite), ("authorization", f"Bearer {token}"))
    async with node.channel() as channel:
        try:
            await info(channel, metadata, within=LONG)
        except grpc.aio.AioRpcError as error:
            return (error.details() or "").partition(" ")[0]
    return "ok"


async def test_a_job_without_a_secret_wakes_its_orgs_satellite(
    torpor, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Issuer().running() as issuer:
        issuer.write_ca(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        deployment: Deployment = await torpor()
        [node] = deployment.nodes
        satellite = await deployment.satellite("acme/one")
        store = Store(database)
        _, viewer = await store.create_token("acme", "looks", role=Role.VIEWER)
        _, operator = await store.create_token("", "ops", role=Role.OPERATOR)
        _, elsewhere = await store.create_token("acme", "two", role=Role.CI, satellites=["two"])
        job = issuer.token()
        assert await code(node, job) == "TPR-1138"
        await TrustRules(database).add(
            "acme", NewTrustRule("app", issuer.url, "torpor", "repo:acme/*", Role.CI, {})
        )
        assert await code(node, viewer) == await code(node, operator) == "TPR-1130"
        assert await code(node, elsewhere) == "TPR-1131"
        assert await code(node, issuer.unsigned()) == "TPR-1137"
        assert deployment.wakes(satellite) == 0
        assert await code(node, job) == "ok"
        assert await code(node, job) == "ok"
        assert deployment.wakes(satellite) == 1
        steps = await deployment.transitions(satellite)
        wakes = [step["actor"] for step in steps if step["event"] == "wake"]
        assert wakes == ["oidc:repo:acme/app:ref:refs/heads/main"]
        written = [(e.actor, e.action, e.result) for e in await Audit(database).read("acme")]
    assert written.count(("oidc:repo:acme/app:ref:refs/heads/main", "exchange", "ok")) == 1
