"""The limits hold: the numbers of the units, applied to real processes in real cgroups.

systemd is not PID 1 where tests run, so its two properties are written into cgroups by hand; the
numbers, the script that works out the cores and the one that starts builds are the satellite's.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from infrakit.cgroups import Cgroup, cgroup, writable

from torpor_provisioner.bootstrap import Machine, Worker, recipe

pytestmark = pytest.mark.skipif(not writable(), reason="cgroups are not writable here (not root)")

MIB = 1 << 20
# Takes memory until somebody stops it, a MiB at a time and touched.
EATER = """
import sys
held = []
while True:
    held.append(bytes(1 << 20).replace(b"\\0", b"x"))
"""
# Holds as much as it is told, then says so and waits.
HOLDER = """
import sys
held = b"x" * (int(sys.argv[1]) << 20)
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with cgroup() as made:
        yield made


@pytest.fixture
def limits_set(laid, tmp_path) -> Callable[..., dict[str, str]]:
    """The unit and the properties that the satellite's own script sets."""

    def ask(machine: Machine, mib: int = 16384) -> dict[str, str]:
        limits = laid(machine) / "usr/libexec/torpor/limits"
        fake = tmp_path / "bin" / "systemctl"
        fake.parent.mkdir(exist_ok=True)
        fake.write_text('#!/bin/sh\necho "$@"\n')
        fake.chmod(0o755)
        meminfo = tmp_path / "meminfo"
        meminfo.write_text(f"MemTotal: {mib * 1024:>14} kB\nMemFree:  {1:>14} kB\n")
        path = f"{fake.parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "TORPOR_MEMINFO": str(meminfo)}
        done = subprocess.run([limits], check=True, env=environment, capture_output=True, text=True)
        words = done.stdout.split()
        assert words[:2] == ["set-property", "--runtime"]
        return {"unit": words[2]} | dict(word.split("=") for word in words[3:])

    return ask


@pytest.fixture
def quota(limits_set) -> Callable[[Machine], int]:
    """CPUQuota in percent of one core."""
    return lambda machine: int(limits_set(machine)["CPUQuota"].removesuffix("%"))


@pytest.fixture
def runc(laid, tmp_path) -> Path:
    """The satellite's runc, which starts a program of the test's in place of BuildKit's."""
    wrapper = laid(Machine()) / "usr/libexec/torpor/runc"
    builds = tmp_path / "buildkit-runc"
    builds.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{EATER}'\n")
    builds.chmod(0o755)
    wrapper.write_text(wrapper.read_text().replace("/usr/local/bin/buildkit-runc", str(builds)))
    wrapper.chmod(stat.S_IRWXU)
    return wrapper


@contextmanager
def the_worker(group: Cgroup, mib: int) -> Iterator[subprocess.Popen[str]]:
    """A process with the worker's OOMScoreAdjust, holding that much."""
    adjust = re.search(r"OOMScoreAdjust=(-?\d+)", _content("torpor-worker.service"))
    assert adjust

    adjusted = f'echo {adjust[1]} >/proc/self/oom_score_adj; exec "$@"'
    holder = ["/bin/sh", "-c", adjusted, "sh", sys.executable, "-c", HOLDER, str(mib)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(group.inside(*holder), text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout
        assert process.stdout.readline() == "holding\n"
        try:
            yield process
        finally:
            process.kill()


def _content(end: str) -> str:
    (file,) = [f for f in recipe(Machine()).files if f.path.endswith(end)]
    return file.content


def _memory_max(memory: int) -> int:
    """MemoryMax= of the builds, on a machine with that much memory."""
    percent = re.search(r"MemoryMax=(\d+)%", _content("torpor-builds.slice"))
    assert percent
    return memory * int(percent[1]) // 100


def test_builds_get_95_hundredths_of_every_core(quota):
    cores = len(os.sched_getaffinity(0))
    assert quota(Machine()) == 95 * cores


@pytest.mark.parametrize(
    ("mib", "builds"), [(16384, 13926), (4096, 3481), (2048, 1536), (1024, 512), (972, 486)]
)
def test_the_system_and_the_worker_keep_memory_on_small_machines_too(mib, builds, limits_set):
    assert limits_set(Machine(), mib)["MemoryMax"] == f"{builds}M"
    assert limits_set(Machine(), mib)["unit"] == "torpor-builds.slice"
    assert limits_set(Machine(worker=Worker.BAZEL_CACHE), mib) == {
        "unit": "torpor-worker.service",
        "MemoryMax": f"{builds}M",
    }


def test_builds_that_want_every_cpu_do_not_get_it(group, quota):
    # A small share, so that the quota and not this machine's other work is what holds them back.
    percent = quota(Machine(cpu_percent=10))
    cores = len(os.sched_getaffinity(0))
    group.limit_cpu(percent)
    spin = group.inside(sys.executable, "-c", "while True: pass")
    builds = [subprocess.Popen(spin) for _ in range(2 * cores)]
    try:
        deadline = time.monotonic() + 90
        while group.throttled < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        begun, used = time.monotonic(), group.cpu_seconds
        while group.throttled < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        share = (group.cpu_seconds - used) / (time.monotonic() - begun)
    finally:
        for build in builds:
            build.kill()
            build.wait()
    assert group.throttled >= 8, "no build was ever held back"
    # One period's quota may fall on either side of the measurement.
    assert share <= percent / 100 * 1.3


def test_a_build_that_eats_all_memory_dies_and_the_worker_lives(group, runc):
    machine = 256 * MIB
    builds = group.child("builds")
    builds.limit_memory(_memory_max(machine))
    with the_worker(group.child("worker"), 32) as worker:
        build = subprocess.run(builds.inside(runc), check=False, timeout=60)
        assert build.returncode == -signal.SIGKILL
        assert worker.poll() is None


def test_even_where_the_whole_machine_is_full_it_is_the_build_that_dies(group, runc):
    """The worker is the larger of the two here: the kernel would take it, but for the scores."""
    builds, beside = group.child("builds"), group.child("worker")
    group.limit_memory(256 * MIB)
    with the_worker(beside, 160) as worker:
        build = subprocess.run(builds.inside(runc), check=False, timeout=60)
        assert build.returncode == -signal.SIGKILL
        assert worker.poll() is None
