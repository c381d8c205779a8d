"""A stock Bazel, a sleeping satellite, and a remote cache behind it."""

from __future__ import annotations

from torpor_provisioner.contract import SleepKind


async def test_a_build_wakes_the_cache_once_and_the_next_hits_it(torpor, bazel, buildgrid) -> None:
    deployment = await torpor(LOCAL_WORKER=buildgrid, LOCAL_RESUME_DELAY=3)
    [node] = deployment.nodes
    satellite = await deployment.satellite("acme/one", asleep=SleepKind.HIBERNATED)
    cache, headers = f"grpc://{node.target}", dict(satellite.metadata)

    first = await bazel.build(cache=cache, headers=headers)
    assert (first.code, first.hits, first.ran) == (0, 0, 30), first.told
    assert "WARNING" not in first.told
    await bazel.forget()
    second = await bazel.build(cache=cache, headers=headers)
    assert (second.code, second.hits, second.ran) == (0, 30, 0), second.told

    assert deployment.wakes(satellite) == 1
    wakes = [row for row in await deployment.transitions(satellite) if row["wake_kind"]]
    assert [row["wake_kind"] for row in wakes] == ["resumed"]
