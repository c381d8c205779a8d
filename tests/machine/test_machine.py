"""A satellite under a real systemd: what its user data promises, looked at from inside and outside.

The last two end its power: they come last, and leave it running again.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machinekit import cloud, satellite, vm

from torpor_provisioner import identity
from torpor_provisioner.contract import Address, Identity

UNITS = (
    *("torpor-firewall.service", "torpor-cache.service", "torpor-limits.service"),
    *("torpor-worker.service", "torpor-health.timer", "torpor-identity.socket"),
    "hibinit-agent.service",
)
BUILDS = "/sys/fs/cgroup/torpor.slice/torpor-builds.slice"
# Tries to connect to each HOST:PORT and prints those that it reached.
REACH = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        print(place)
    except OSError:
        pass
"""
# Holds so many MiB, all different, and tells their sum for each line that it reads.
HOLD = """
import os, sys, zlib
noise = os.urandom(1 << 20)
held = [bytearray(i.to_bytes(8, "big") + noise[8:]) for i in range(int(sys.argv[1]))]
total = lambda: zlib.crc32(b"".join(zlib.crc32(one).to_bytes(4, "big") for one in held))
for _ in iter(lambda: open("/run/hold-ask").read(), None):
    open("/run/hold-told", "w").write(str(total()))
"""


def told(machine: vm.Machine) -> Identity | None:
    return asyncio.run(identity.read(Address(cloud.MACHINE, identity.PORT), 20))


def answers() -> bool:
    """Whether the worker greets a router as an HTTP/2 server."""
    try:
        with socket.create_connection((cloud.MACHINE, satellite.WORKER), timeout=20) as worker:
            return worker.recv(9)[3:4] == b"\x04"
    except OSError:
        return False


@contextmanager
def listening() -> Iterator[str]:
    """A server beside the machine: what a build may well reach."""
    with socket.create_server((cloud.ROUTER, 0)) as server:
        yield f"{cloud.ROUTER}:{server.getsockname()[1]}"


def script(machine: vm.Machine, name: str, text: str) -> str:
    """A Python program in the machine; gives the command that runs it."""
    machine.tell(f"cat >/usr/local/{name}.py <<'END'\n{text}\nEND")
    return f"python3 /usr/local/{name}.py"


def test_first_boot_makes_it_a_satellite(machine: vm.Machine) -> None:
    for unit in UNITS:
        machine.until(f"systemctl is-active {unit}")
    failed = machine.tell("systemctl --failed --plain --no-legend | cut -d ' ' -f 1")
    assert not [unit for unit in failed.split() if "torpor" in unit]
    assert "masked" in machine.run("systemctl is-enabled ssh.service").output
    assert machine.tell("cloud-init query platform") == "ec2"


def test_the_cache_volume_is_found_and_mounted(machine: vm.Machine) -> None:
    shown = machine.tell("findmnt --noheadings --output FSTYPE,LABEL,OPTIONS /var/lib/torpor")
    assert shown.split()[:2] == ["xfs", "torpor-cache"]
    assert "noatime" in shown
    assert int(machine.tell("stat -c %s /var/lib/torpor/.ballast")) > 100 << 20


def test_the_worker_answers_routers(machine: vm.Machine) -> None:
    vm.waited(answers, vm.ANSWERS_WITHIN, "no worker")


def test_a_machine_tells_routers_its_identity_and_boot(machine: vm.Machine) -> None:
    who = vm.waited(lambda: told(machine), vm.ANSWERS_WITHIN, "nobody tells")
    assert who.boot_id == machine.tell("cat /proc/sys/kernel/random/boot_id")
    assert who.launch_token == satellite.SPEC.launch_token
    assert who.uptime > 0


def test_limits_leave_the_system_and_the_worker_their_share(machine: vm.Machine) -> None:
    machine.until("systemctl is-active torpor-limits.service")
    total = int(machine.tell("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) // 1024
    assert machine.tell(f"cat {BUILDS}/cpu.max") == "95000 100000"
    assert int(machine.tell(f"cat {BUILDS}/memory.max")) == (total - 512) << 20
    for folder in (BUILDS, "/sys/fs/cgroup/torpor.slice"):
        assert machine.tell(f"cat {folder}/memory.swap.max") == "0"
    assert machine.tell("cat /sys/fs/cgroup/torpor.slice/memory.min") == str(256 << 20)


def test_a_build_runs_below_the_limits_and_goes_first(machine: vm.Machine) -> None:
    machine.until("systemctl is-active torpor-worker.service")
    shown = machine.tell("container shown sh -c 'cat /proc/self/cgroup /proc/self/oom_score_adj'")
    group, score = shown.split()
    assert group.endswith("/torpor.slice/torpor-builds.slice/buildkit/shown") or group == "0::/"
    assert score == "500"


def test_firewall(machine: vm.Machine) -> None:
    """A build reaches what is outside, and of its own machine nothing: not the worker's API, not
    who the machine is, not the credentials."""
    machine.until("systemctl is-active torpor-worker.service torpor-identity.socket")
    reach = script(machine, "reach", REACH)
    bridge = "100.127.0.1"
    own = [f"{host}:{port}" for host in (bridge, cloud.MACHINE) for port in (8372, 8373, 22)]
    metadata = f"{cloud.METADATA}:80"
    with listening() as outside:
        from_build = machine.tell(f"container reach {reach} {' '.join(own)} {metadata} {outside}")
    assert from_build.split() == [outside]
    # On the machine itself: root, but not what root runs for builds; and the health check's way.
    everything = f"{cloud.MACHINE}:8372 {cloud.MACHINE}:8373 {metadata}"
    by_root = machine.tell(f"{reach} {everything}")
    assert by_root.split() == [f"{cloud.MACHINE}:8372", metadata]
    by_worker = machine.tell(
        f"systemd-run --quiet --pipe --wait --slice=torpor.slice {reach} {everything}"
    )
    assert by_worker.split() == [f"{cloud.MACHINE}:8372"]
    by_user = machine.tell(f"setpriv --reuid=65534 --regid=65534 --clear-groups {reach} {metadata}")
    assert by_user.split() == []


def test_out_of_memory_ends_the_build_and_not_the_worker(machine: vm.Machine) -> None:
    machine.until("systemctl is-active torpor-worker.service")
    worker = machine.tell("systemctl show --value --property=MainPID torpor-worker.service")
    eater = script(machine, "eat", "held = []\nwhile True: held.append(b'x' * (1 << 20))")
    assert machine.run(f"container eat {eater}").status == 137
    assert machine.tell("systemctl show --value --property=MainPID torpor-worker.service") == worker
    kernel = machine.tell("dmesg | grep -o 'oom-kill:constraint=[A-Z_]*' | tail -n 1")
    assert kernel.endswith("CONSTRAINT_MEMCG"), "the slice's limit, before the machine was full"
    assert answers()


@pytest.fixture
def held(machine: vm.Machine) -> Iterator[str]:
    """Six tenths of all memory in the builds' slice; gives the command that tells its sum."""
    total = int(machine.tell("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) // 1024
    hold = script(machine, "hold", HOLD)
    machine.tell("rm -f /run/hold-*; mkfifo /run/hold-ask /run/hold-told")
    machine.tell(
        f"systemd-run --quiet --unit=hold --slice=torpor-builds.slice {hold} {total * 6 // 10}"
    )
    yield "echo >/run/hold-ask & cat /run/hold-told"
    machine.run("systemctl stop hold.service")


def test_hibernates_with_six_tenths_of_memory_in_use(machine: vm.Machine, held: str) -> None:
    machine.until("systemctl is-active hibinit-agent.service torpor-worker.service")
    before, sum_before = told(machine), machine.tell(held, vm.BOOTS_WITHIN)
    worker = machine.tell("systemctl show --value --property=MainPID torpor-worker.service")
    assert before is not None
    # Where nothing lifts the limits the kernel finds no room, and the machine runs on.
    hook = "/usr/lib/systemd/system-sleep/torpor"
    machine.tell(f"chmod a-x {hook}")
    machine.tell("/usr/local/sbin/hibernate", vm.BOOTS_WITHIN)
    assert machine.tell("cat /run/hibernated") == "failed"
    machine.tell(f"chmod a+x {hook}")

    machine.tell("systemd-run --quiet --unit=asleep /usr/local/sbin/hibernate")
    machine.off()
    machine.power_on()
    after = vm.waited(lambda: told(machine), vm.BOOTS_WITHIN, "it does not come back")
    assert after.boot_id == before.boot_id, "memory was kept"
    assert after.uptime > before.uptime
    vm.waited(answers, vm.ANSWERS_WITHIN, "no worker")
    assert machine.until("cat /run/hibernated") == "kept"
    assert machine.tell(held, vm.BOOTS_WITHIN) == sum_before
    assert machine.tell("systemctl show --value --property=MainPID torpor-worker.service") == worker
    for folder in (BUILDS, "/sys/fs/cgroup/torpor.slice"):
        assert machine.tell(f"cat {folder}/memory.swap.max") == "0", "as before it slept"
    machine.tell("nft list chain inet torpor arriving; mountpoint -q /var/lib/torpor")
    machine.until("journalctl --unit=torpor-resumed.service | grep -q chronyc")
    vm.waited(lambda: abs(float(machine.tell("date +%s.%N")) - time.time()) < 5, 300, "the clock")


def test_a_stop_loses_memory_and_says_so_and_all_comes_up_by_itself(machine: vm.Machine) -> None:
    before = vm.waited(lambda: told(machine), vm.ANSWERS_WITHIN, "nobody tells")
    machine.run("systemctl poweroff")
    machine.off()
    machine.power_on()
    after = vm.waited(lambda: told(machine), vm.BOOTS_WITHIN, "it does not come back")
    assert after.boot_id != before.boot_id
    assert after.launch_token == before.launch_token
    vm.waited(answers, vm.BOOTS_WITHIN, "no worker")
    for unit in UNITS:
        machine.until(f"systemctl is-active {unit}")
    active = "systemctl show --value --property=ActiveEnterTimestampMonotonic"
    firewall, network = (
        int(machine.tell(f"{active} {unit}"))
        for unit in ("torpor-firewall.service", "systemd-networkd.service")
    )
    assert firewall < network
