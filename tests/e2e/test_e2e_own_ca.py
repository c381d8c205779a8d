"""A CA of the deployment's own: a certificate from its issue to its revocation, at a real door."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
from documented import as_documented
from doorkit.authority import Authority, Files, client_context
from e2ekit.deployment import REVOKED_WITHIN, UNLIMITED, Deployment, Node
from waiting import LONG

from torpor_provisioner.sample.client import info
from torpor_router.access.roles import Role
from torpor_router.access.store import Store


async def told(node: Node, authority: Authority, client: Files) -> str:
    """What a build on acme/one is told: "OK", or the refusal."""
    credentials = grpc.ssl_channel_credentials(
        authority.path.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(node.target, credentials, UNLIMITED) as channel:
        try:
            await info(channel, (("satellite", "acme/one"),), within=LONG)
        except grpc.aio.AioRpcError as error:
            return (error.details() or "").partition(" ")[0]
    return "OK"


async def refused(node: Node, authority: Authority, client: Files, code: str) -> float:
    """When a new build was first refused, by this code."""
    async with asyncio.timeout(LONG):
        while (answer := await told(node, authority, client)) == "OK":
            await asyncio.sleep(0.02)
    assert answer == code
    return asyncio.get_running_loop().time()


async def test_a_certificate_is_issued_used_and_revoked(torpor, database, tmp_path: Path) -> None:
    deployment: Deployment = await torpor(0)
    satellite = await deployment.satellite("acme/one")
    ca, key = tmp_path / "clients.pem", tmp_path / "clients.key"
    places = ("--client-ca", str(ca), "--client-ca-key", str(key))
    await deployment.torpor("ca", "init", *places)
    authority = Authority(tmp_path)
    door = authority.issue()
    options = ("--tls-cert", str(door.certificate), "--tls-key", str(door.key), *places)
    node = await deployment.node(*options, tls=client_context(authority))

    prefix = tmp_path / "laptop"
    laptop = Files(prefix.with_suffix(".pem"), prefix.with_suffix(".key"))
    issued = json.loads(
        await deployment.torpor(
            *("ca", "issue", "acme/one", "--for", "1h", "--name", "laptop", *places),
            *("--out", str(prefix), "--json"),
        )
    )
    assert await told(node, authority, laptop) == "OK"
    steps = await deployment.transitions(satellite)
    actor = f"certificate:laptop/{issued['serial']}"
    assert [step["actor"] for step in steps if step["event"] == "wake"] == [actor]
    [listed] = json.loads(await deployment.torpor("ca", "ls", "acme", "--json"))
    assert (listed["serial"], listed["state"]) == (issued["serial"], "valid")

    _, token = await Store(database).create_token("acme", "job", role=Role.CI, satellites=["one"])
    prefix = tmp_path / "job"
    job = Files(prefix.with_suffix(".pem"), prefix.with_suffix(".key"))
    printed = await deployment.satellite_command(
        *("certificate", "--out", str(prefix), "--ca", str(authority.path), "--json"),
        TORPOR_TOKEN=token,
        TORPOR_ADDRESS=node.target,
    )
    as_documented(json.loads(printed), "certificate")
    assert await told(node, authority, job) == "OK"

    await deployment.torpor("ca", "revoke", issued["serial"], "--reason", "laptop lost")
    begun = asyncio.get_running_loop().time()
    assert await refused(node, authority, laptop, "TPR-1106") - begun < REVOKED_WITHIN
    assert await told(node, authority, job) == "OK", "another's certificate"
    await deployment.torpor("token", "revoke", "acme", "job")
    begun = asyncio.get_running_loop().time()
    assert await refused(node, authority, job, "TPR-1106") - begun < REVOKED_WITHIN
    states = json.loads(await deployment.torpor("ca", "ls", "--json"))
    assert {each["subject"]: each["state"] for each in states} == {
        "laptop": "revoked",
        "token:job": "revoked",
    }

    await database.execute("delete from issued_certificates where token_id is not null")
    await refused(node, authority, job, "TPR-1153")
