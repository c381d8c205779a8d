"""What to do with the demo once it stands: lines to paste."""

from __future__ import annotations

import grpc

from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc
from torpor_router.demo.clouds import CACHE, AnyCloud
from torpor_router.demo.narrator import Narrator
from torpor_router.demo.stage import ORG, Stage
from torpor_router.demo.story import NAME


async def offer(stage: Stage, cloud: AnyCloud, narrator: Narrator) -> None:
    """Print them, and launch the satellite that Bazel's needs where there can be one."""
    door = stage.targets[0]
    narrator.chapter("Now you. In another terminal:")
    narrator.paste(f"export TORPOR_ADDRESS={door} TORPOR_TOKEN={stage.token}")
    narrator.say("look at the satellite, put it to sleep, wake it, ask why:")
    for words in ("ls", f"sleep {NAME}", f"wake {NAME}", f"history {NAME}"):
        narrator.paste(f".venv/bin/satellite {words}")
    narrator.say("any gRPC client wakes it too:")
    narrator.paste(
        f"grpcurl -plaintext -H 'satellite: {ORG}/{NAME}'"
        f' -H "authorization: Bearer $TORPOR_TOKEN" {door} torpor.sample.v1.Builder/Info'
    )
    if cloud.has_cache:
        await _launch_cache(stage)
        narrator.say("Bazel, with a satellite as its remote cache:")
        narrator.paste(
            f"bazel build --remote_cache=grpc://{door} --remote_header=satellite={ORG}/{CACHE}"
            ' --remote_header="authorization=Bearer $TORPOR_TOKEN" //...'
        )
    elif cloud.name == "local":
        narrator.say(
            "for Bazel, run 'make tools' once (it installs a remote cache), then this again"
        )
    narrator.say(f"the routers' logs are in {stage.logs}")
    narrator.say("Ctrl-C ends everything.")


async def _launch_cache(stage: Stage) -> None:
    metadata = (("authorization", f"Bearer {stage.token}"),)
    request = pb.LaunchRequest(name=CACHE, provisioner="local", settings={"worker": CACHE})
    async with grpc.aio.insecure_channel(stage.targets[0]) as channel:
        await rpc.SatellitesStub(channel).Launch(request, metadata=metadata)
