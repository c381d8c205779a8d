"""The sample worker over real gRPC: builds, what it remembers, refusals, cancellation."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from waiting import until

from torpor_provisioner.sample.client import build, info
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc


@pytest.fixture
async def channel(tmp_path: Path, sample_worker) -> AsyncIterator[grpc.aio.Channel]:
    async with sample_worker(tmp_path / "data", "--max-bytes", str(1 << 20)) as channel:
        yield channel


async def built(channel: grpc.aio.Channel, source: Path | None, *command: str) -> list[str]:
    """The build's lines, errors marked, with its exit code at the end."""
    told = []
    async for event in build(channel, source, command):
        if event.HasField("line"):
            mark = "! " if event.line.source == pb.Line.SOURCE_STDERR else ""
            told.append(mark + event.line.text.decode())
        elif event.HasField("finished"):
            told.append(f"exit {event.finished.exit_code}")
    return told


async def test_builds_a_source_folder(channel: grpc.aio.Channel, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "greeting").write_text("hello\n")
    told = await built(channel, source, "sh", "-c", "cat greeting; echo oops >&2; exit 3")
    assert sorted(told) == ["! oops", "exit 3", "hello"]
    assert told[-1] == "exit 3"


async def test_lines_come_while_the_command_runs(channel: grpc.aio.Channel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    told = []
    async for event in build(channel, None, ["sh", "-c", f"echo before; read x <{gate}; echo $x"]):
        if event.HasField("line"):
            told.append(event.line.text)
            if event.line.text == b"before":  # only now may it go on
                gate.write_text("after\n")
    assert told == [b"before", b"after"]


async def test_remembers_in_memory_and_on_disk(
    channel: grpc.aio.Channel, tmp_path: Path, sample_worker
) -> None:
    for _ in range(2):
        assert await built(channel, None, "sh", "-c", 'mktemp "$TORPOR_CACHE/XXXXXX" >/dev/null')
    first = await info(channel)
    assert (first.counter, first.builds_done, first.cache_entries) == (2, 2, 2)
    async with sample_worker(tmp_path / "data") as another:
        second = await info(another)
    assert (second.counter, second.builds_done, second.cache_entries) == (0, 2, 2)
    assert second.pid != first.pid
    assert second.booted_at.ToNanoseconds() > first.booted_at.ToNanoseconds()


async def test_each_build_has_a_workspace_of_its_own(channel: grpc.aio.Channel) -> None:
    first = await built(channel, None, "sh", "-c", "pwd; touch mine; ls")
    second = await built(channel, None, "sh", "-c", "pwd; ls")
    assert first[1:] == ["mine", "exit 0"]
    assert second[1:] == ["exit 0"]
    assert first[0] != second[0]
    await until(lambda: not Path(first[0]).exists(), "the workspace is removed")


async def test_a_signal_is_told_as_a_shell_does(channel: grpc.aio.Channel) -> None:
    assert await built(channel, None, "sh", "-c", "kill -TERM $$") == ["exit 143"]


async def test_long_lines_come_in_pieces(channel: grpc.aio.Channel) -> None:
    command = "head -c 200000 /dev/zero | tr '\\0' x; printf '\\nend'"
    *pieces, end, code = await built(channel, None, "sh", "-c", command)
    assert "".join(pieces) == "x" * 200_000
    assert len(pieces) > 1
    assert (end, code) == ("end", "exit 0")


async def test_the_background_does_not_hold_a_build_up(channel: grpc.aio.Channel) -> None:
    told = await built(channel, None, "sh", "-c", "sleep 1000 & echo $!")
    assert told[-1] == "exit 0"


async def test_cancelling_ends_the_whole_group(channel: grpc.aio.Channel) -> None:
    async with aclosing(  # type: ignore[type-var]
        build(channel, None, ["sh", "-c", "sleep 1000 & echo $!; echo $$; wait"])
    ) as events:
        pids = []
        async for event in events:
            if event.HasField("line"):
                pids.append(int(event.line.text))
            if len(pids) == 2:
                break
    await until(lambda: not any(alive(pid) for pid in pids), "the command has ended")
    assert await built(channel, None, "true") == ["exit 0"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def requests(*parts: pb.BuildRequest) -> AsyncIterator[pb.BuildRequest]:
    for part in parts:
        yield part


def start(*command: str) -> pb.BuildRequest:
    return pb.BuildRequest(start=pb.BuildStart(command=command))


def escaping() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], grpc.StatusCode.INVALID_ARGUMENT),
        ([start()], grpc.StatusCode.INVALID_ARGUMENT),
        ([pb.BuildRequest(chunk=b"x")], grpc.StatusCode.INVALID_ARGUMENT),
        ([start("true"), start("true")], grpc.StatusCode.INVALID_ARGUMENT),
        ([start("true"), pb.BuildRequest(chunk=b"junk" * 999)], grpc.StatusCode.INVALID_ARGUMENT),
        ([start("true"), pb.BuildRequest(chunk=escaping())], grpc.StatusCode.INVALID_ARGUMENT),
        ([start("/no/such/program")], grpc.StatusCode.INVALID_ARGUMENT),
        ([start("nul\0inside")], grpc.StatusCode.INVALID_ARGUMENT),
        (
            [start("true"), *[pb.BuildRequest(chunk=bytes(1 << 19))] * 3],
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
    ids=[
        *("nothing", "no-command", "no-start", "two-starts", "junk", "escape", "no-program", "nul"),
        "too-large",
    ],
)
async def test_refuses(
    channel: grpc.aio.Channel,
    parts: list[pb.BuildRequest],
    code: grpc.StatusCode,
    tmp_path: Path,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in rpc.BuilderStub(channel).Build(requests(*parts)):
            pass
    assert refused.value.code() is code, refused.value.details()
    workspaces = tmp_path / "data" / "workspaces"
    await until(lambda: not list(workspaces.iterdir()), "the workspace is removed")


async def test_health_and_reflection(channel: grpc.aio.Channel) -> None:
    reply = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
        health_pb2.HealthCheckRequest(service="torpor.sample.v1.Builder")
    )
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield asked

    async for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(  # type: ignore[arg-type, operator]
        ask()
    ):
        names = {service.name for service in answer.list_services_response.service}
    assert "torpor.sample.v1.Builder" in names  # type: ignore[possibly-undefined]


async def test_a_stop_ends_open_builds(tmp_path: Path, sample_worker) -> None:
    async with sample_worker(tmp_path / "data") as channel:
        pid = (await info(channel)).pid
        events = build(channel, None, ["sh", "-c", "echo $$; sleep 1000"])
        async for event in events:
            if event.HasField("line"):
                command = int(event.line.text)
                break
        os.kill(pid, signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in events:
                pass
    await until(lambda: not alive(command), "the command has ended")
