"""What `satellite connect` prints leads to the satellite: used as printed, at a door with TLS."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import grpc
import yaml
from click.testing import CliRunner
from doorkit.authority import Authority, client_context
from e2ekit.deployment import UNLIMITED, Deployment, Metadata
from waiting import LONG

from torpor_provisioner.sample.client import info
from torpor_router.cli.satellite import main

DOMAIN = "builds.test"
NAMES = [
    "--addr",
    "--tlsservername",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "-H",
    "-cacert",
    "--buildkit-host",
]


async def satellite(*arguments: str, **environment: str) -> str:
    done = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def options(text: str) -> dict[str, list[str]]:
    """Each option's values, as a shell would give them to the client."""
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    found: dict[str, list[str]] = {}
    for at, word in enumerate(words):
        if word in NAMES:
            found.setdefault(word, []).append(words[at + 1])
        elif word == "--driver-opt":
            key, _, value = words[at + 1].partition("=")
            found.setdefault(key, []).append(value)
        elif word.startswith("global."):
            found.setdefault(word, []).append(words[at + 1])
        elif word.startswith(("--remote_", "--tls_certificate=")):
            key, _, value = word.partition("=")
            found.setdefault(key, []).append(value)
        elif re.fullmatch(r"(tcp://)?127\.0\.0\.1:\d+", word):
            found.setdefault("endpoint", []).append(word)
    return found


class Shown:
    """What a client makes of its options."""

    def __init__(self, given: dict[str, list[str]], token: str) -> None:
        def of(*names: str) -> str:
            return next((given[name][0] for name in names if name in given), "")

        url = of("--addr", "--remote_executor", "--buildkit-host", "endpoint")
        host, _, port = url.rpartition("//")[2].rpartition(":")
        self.port = port
        self.server_name = of("--tlsservername", "servername") or host
        self.ca = of("--tlscacert", "cacert", "global.tlsca", "--tls_certificate", "-cacert")
        self.certificate = of("--tlscert", "cert", "global.tlscert")
        self.key = of("--tlskey", "key", "global.tlskey")
        headers = [
            re.split(r": |=", each, maxsplit=1)
            for name in ("-H", "--remote_header")
            for each in given.get(name, ())
        ]
        self.metadata: Metadata = [
            (name, value.replace("$TORPOR_TOKEN", token)) for name, value in headers
        ]

    def channel(self) -> grpc.aio.Channel:
        def read(path: str) -> bytes | None:
            return Path(path).read_bytes() if path else None

        credentials = grpc.ssl_channel_credentials(
            read(self.ca), read(self.key), read(self.certificate)
        )
        name = [("grpc.ssl_target_name_override", self.server_name)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, UNLIMITED + name)


async def test_each_recipe_leads_to_the_satellite(torpor, tmp_path: Path) -> None:
    deployment: Deployment = await torpor(0)
    asleep = await deployment.satellite("acme/one")
    authority = Authority(tmp_path)
    door = authority.issue(dns=(f"*.{DOMAIN}",))
    places = (
        *("--client-ca", str(tmp_path / "clients.pem")),
        *("--client-ca-key", str(tmp_path / "clients.key")),
    )
    await deployment.torpor("ca", "init", *places)
    node = await deployment.node(
        *("--tls-cert", str(door.certificate), "--tls-key", str(door.key), "--domain", DOMAIN),
        *places,
        tls=client_context(authority),
    )
    environment = {
        "TORPOR_ADDRESS": node.target,
        "TORPOR_TOKEN": asleep.token,
        "TORPOR_CA": str(authority.path),
    }
    own = ("--certificate", str(tmp_path / "client"))
    reached: set[int] = set()
    for client in ("buildctl", "buildx", "earthbuild", "bazel", "grpcurl", "gitlab"):
        text = await satellite("connect", "one", "--for", client, *own, **environment)
        assert asleep.token not in text
        if client == "gitlab":
            [text] = yaml.safe_load(text)["build"]["script"]
        [*certificate] = re.findall(r"(?m)^satellite (certificate .*)$", text)
        if certificate and not reached:  # one is enough, and a second would need --replace
            await satellite(*shlex.split(certificate[0]), **environment)
        shown = Shown(options(text), asleep.token)
        assert bool(shown.certificate) != bool(shown.metadata), "one or the other"
        async with shown.channel() as channel:
            reached.add((await info(channel, shown.metadata, within=LONG)).pid)
    assert len(reached) == 1, "always the same worker"
    assert deployment.wakes(asleep) == 1
