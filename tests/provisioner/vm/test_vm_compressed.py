"""The memory of a machine that sleeps for long is compressed, and comes back as it was."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from vmkit.machines import WITHIN, becomes, folder_of, info, needs_qemu, observe

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady
from torpor_provisioner.vm import compressed, sparse
from torpor_provisioner.vm.errors import DiskFull, HypervisorFailed, NoHypervisor, StateRefused
from torpor_provisioner.vm.hypervisor import COMPRESSED, COMPRESSING, MEMORY

MIB = 1 << 20
SIZE = 32 * MIB
needs_zstd = pytest.mark.skipif(not compressed.is_here(), reason="zstd is not installed")


def always() -> bool:
    return True


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Holes, a text and noise, which no program makes smaller."""
    at = tmp_path / MEMORY
    with at.open("wb") as file:
        file.truncate(SIZE)
        file.seek(5 * MIB)
        file.write(b"a line of text\n" * 100_000)
        file.seek(20 * MIB)
        file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    return at


async def compress(folder: Path, going: Callable[[], bool] = always) -> bool:
    with compressed.alone(folder) as lock:
        assert lock is not None
        return await compressed.compress(folder, lock, going)


@pytest.fixture
def stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A shell script in the place of zstd."""

    def make(script: str) -> None:
        at = tmp_path / "bin" / compressed.PROGRAM
        at.parent.mkdir(exist_ok=True)
        at.write_text(f"#!/bin/sh\n{script}\n")
        at.chmod(0o755)
        monkeypatch.setenv("PATH", f"{at.parent}:{os.environ['PATH']}")

    return make


@needs_zstd
async def test_a_memory_comes_back_as_it_was_holes_too(tmp_path, memory):
    before, taken = memory.read_bytes(), sparse.blocks(memory)
    assert await compress(tmp_path)
    compressed.commit(tmp_path)
    assert not memory.exists()
    assert not (tmp_path / COMPRESSING).exists()
    assert sparse.blocks(tmp_path / COMPRESSED) < taken
    assert sparse.blocks(tmp_path / COMPRESSED) >= MIB, "the noise"
    compressed.commit(tmp_path)  # by a node that carries on
    await compressed.restore(tmp_path, SIZE, always)
    assert memory.read_bytes() == before
    sparse.release(memory)
    assert sparse.blocks(memory) <= taken + MIB
    compressed.forget(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.name != compressed.LOCK] == [MEMORY]


@needs_zstd
async def test_half_of_a_memory_is_told_from_a_whole_one(tmp_path, memory):
    assert await compress(tmp_path)
    compressed.commit(tmp_path)
    whole = (tmp_path / COMPRESSED).read_bytes()
    for damaged in (whole[:-100], whole[:-1] + bytes((whole[-1] ^ 1,)), b"something else"):
        (tmp_path / COMPRESSED).write_bytes(damaged)
        with pytest.raises(StateRefused, match="its compressed memory"):
            await compressed.restore(tmp_path, SIZE, always)


@needs_zstd
async def test_what_a_killed_node_has_half_written_is_not_taken(tmp_path, memory):
    before = memory.read_bytes()
    (tmp_path / COMPRESSING).write_bytes(b"half")
    assert await compress(tmp_path)
    compressed.commit(tmp_path)
    await compressed.restore(tmp_path, SIZE, always)
    assert memory.read_bytes() == before


async def test_a_machine_that_wakes_meanwhile_is_not_waited_for(tmp_path, memory, stands_in):
    stands_in("exec sleep 600")
    assert not await compress(tmp_path, lambda: False)
    assert memory.exists()
    assert not (tmp_path / COMPRESSING).exists()
    (tmp_path / COMPRESSED).touch()
    with pytest.raises(NotReady, match="no time is left"):
        await compressed.restore(tmp_path, SIZE, lambda: False)


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("echo 'zstd: error 25: No space left on device' >&2; exit 1", DiskFull, "No space left"),
        ("echo 'out of memory' >&2; exit 1", HypervisorFailed, "out of memory"),
        ("kill -9 $$", HypervisorFailed, "ended by -9"),
    ],
)
async def test_a_compression_that_fails_leaves_the_memory(
    tmp_path, memory, stands_in, script, error, says
):
    before = memory.read_bytes()
    stands_in(script)
    with pytest.raises(error, match=says):
        await compress(tmp_path)
    assert memory.read_bytes() == before
    assert not (tmp_path / COMPRESSING).exists()


async def test_without_zstd_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / COMPRESSED).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compressed.is_here()
    with pytest.raises(NoHypervisor, match=r"zstd is not installed.*apt-get install.* zstd"):
        await compressed.restore(tmp_path, SIZE, always)


async def test_one_memory_at_a_time_even_after_its_node_was_killed(tmp_path, memory, stands_in):
    """The program goes on for a while without its node."""
    stands_in("echo ready >&2; read -r _ </dev/stdin; exec sleep 600")
    began = asyncio.Event()

    def going() -> bool:
        began.set()
        return True

    running = asyncio.create_task(compress(tmp_path, going))
    await began.wait()
    with compressed.alone(tmp_path) as other:
        assert other is None
    running.cancel()
    await asyncio.wait((running,))
    with compressed.alone(tmp_path) as other:
        assert other is not None


@needs_qemu
@needs_zstd
@pytest.mark.timeout(600)
async def test_who_sleeps_for_long_takes_less_room_and_wakes_as_before(vm, spec, tmp_path):
    one = vm(compress_after=0.01)
    ref = await one.launch(spec(), "token")
    before = await info(await becomes(one, ref, MachineState.RUNNING))
    folder = folder_of(tmp_path, ref)
    await one.sleep(ref, SleepKind.HIBERNATED)
    await becomes(one, ref, MachineState.ASLEEP)
    taken = sparse.blocks(folder / MEMORY)
    async with asyncio.timeout(WITHIN):
        while (folder / MEMORY).exists():
            assert (await observe(one, ref)).sleep_kind is SleepKind.HIBERNATED
            await asyncio.sleep(0.02)
    assert 0 < sparse.blocks(folder / COMPRESSED) < taken / 2
    other = vm()
    await other.wake(ref)
    after = await info(await becomes(other, ref, MachineState.RUNNING))
    assert after.booted_at == before.booted_at
    assert not compressed.exists(folder)
    await other.terminate(ref)
    assert not shutil.which(compressed.PROGRAM) or not list(folder.parent.iterdir())


@needs_qemu
@needs_zstd
@pytest.mark.timeout(600)
@pytest.mark.slow  # it boots
async def test_a_memory_that_cannot_be_read_any_more_is_a_boot(vm, spec, tmp_path):
    one = vm(compress_after=0.01)
    ref = await one.launch(spec(), "token")
    await becomes(one, ref, MachineState.RUNNING)
    folder = folder_of(tmp_path, ref)
    await one.sleep(ref, SleepKind.HIBERNATED)
    async with asyncio.timeout(WITHIN):
        while not compressed.exists(folder) or (folder / MEMORY).exists():
            await observe(one, ref)
            await asyncio.sleep(0.02)
    (folder / COMPRESSED).write_bytes(b"something else")
    await one.wake(ref)
    seen = await becomes(one, ref, MachineState.RUNNING)
    assert "its compressed memory" in seen.detail
    await info(seen)
