"""A client certificate, from its first build to its revocation, on two nodes with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from doorkit.authority import Authority, Files, client_context
from e2ekit.deployment import REVOKED_WITHIN, UNLIMITED, Deployment, Node
from waiting import LONG

from torpor_provisioner.sample.client import build, info


def channel(node: Node, authority: Authority, client: Files) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.path.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(node.target, credentials, UNLIMITED)


async def secured(deployment: Deployment, authority: Authority) -> None:
    door = authority.issue()
    options = ("--tls-cert", door.certificate, "--tls-key", door.key, "--client-ca", authority.path)
    tls = client_context(authority)
    for _ in range(2):
        await deployment.node(*map(str, options), tls=tls)


async def ended(node: Node, authority: Authority, client: Files, begun: asyncio.Event) -> float:
    """Run a build that never ends by itself; when it was ended."""
    async with channel(node, authority, client) as connection:
        events = build(connection, None, ["sleep", "1000"], within=LONG)
        await anext(events)
        begun.set()
        with pytest.raises(grpc.aio.AioRpcError, match="TPR-1106"):
            await _end_of(events)
        return asyncio.get_running_loop().time()


async def _end_of(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


async def test_a_revoked_certificate_ends_its_builds_on_every_node(torpor, tmp_path: Path) -> None:
    deployment, authority = await torpor(0), Authority(tmp_path)
    await secured(deployment, authority)
    await deployment.satellite("acme/one")
    uri = "torpor://org/acme/satellite/one"
    laptop, ci = authority.issue(uris=(uri,)), authority.issue(uris=(uri,))
    begun = [asyncio.Event() for _ in deployment.nodes]
    builds = [
        asyncio.create_task(ended(node, authority, laptop, each))
        for node, each in zip(deployment.nodes, begun, strict=True)
    ]
    async with asyncio.timeout(LONG), channel(deployment.nodes[0], authority, ci) as another:
        for each in begun:
            await each.wait()
        other = build(another, None, ["sleep", "4"], within=LONG)
        await anext(other)
        told = await deployment.torpor("cert", "revoke", str(laptop.certificate))
        revoked = asyncio.get_running_loop().time()
        assert told.startswith("Revoked the certificate with the SHA-256 ")
        assert max(await asyncio.gather(*builds)) - revoked < REVOKED_WITHIN
        for node in deployment.nodes:
            async with channel(node, authority, laptop) as again:
                assert "TPR-1106" in await _told(again)
        events = [event async for event in other]
        assert events[-1].finished.exit_code == 0, "another certificate's build goes on"
        await deployment.torpor("cert", "restore", str(laptop.certificate))
        async with channel(deployment.nodes[1], authority, laptop) as again:
            while (told := await _told(again)) != "OK":
                assert "TPR-1106" in told
                await asyncio.sleep(0.1)


async def _told(connection: grpc.aio.Channel) -> str:
    try:
        await info(connection, within=LONG)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return "OK"
