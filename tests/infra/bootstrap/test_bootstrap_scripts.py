"""The satellite's scripts, run: the cache volume on a disk image, the firewall in a network."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from torpor_provisioner import identity
from torpor_provisioner.bootstrap import Machine, System, Worker, recipe
from torpor_provisioner.contract import Address

MIB = 1 << 20
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and networks are root's")


@pytest.fixture
def programs(laid) -> Path:
    return laid(Machine()) / "usr/libexec/torpor"


class Volume:
    """A disk image behind a loop device, and the satellite's script that mounts it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.image = folder / "disk"
        self.folder = folder / "mounted"
        self.label = f"tt{secrets.token_hex(4)}"
        self.programs = programs
        with self.image.open("wb") as file:
            file.truncate(320 * MIB)
        self.device = self._losetup("--find", "--show", self.image)

    def _losetup(self, *arguments: object) -> str:
        words = ["losetup", *map(str, arguments)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def mount(self, device: str | None = None) -> subprocess.CompletedProcess[str]:
        given = {"TORPOR_CACHE_DEVICE": device or self.device, "TORPOR_CACHE_TRIES": "1"}
        return subprocess.run(
            [self.programs / "cache", self.folder, self.label],
            check=False,
            env={"PATH": os.environ["PATH"]} | given,
            capture_output=True,
            text=True,
        )

    def unmount(self) -> None:
        subprocess.run(["umount", self.folder], check=True)

    def grow(self, size: int) -> None:
        with self.image.open("r+b") as file:
            file.truncate(size)
        self._losetup("--set-capacity", self.device)

    def end(self) -> None:
        subprocess.run(["umount", "--quiet", self.folder], check=False, capture_output=True)
        self._losetup("--detach", self.device)


@pytest.fixture
def volume(tmp_path, programs, tool) -> Iterator[Volume]:
    tool("mkfs.xfs")
    try:
        made = Volume(tmp_path, programs)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop devices here: {error.stderr}")
    try:
        yield made
    finally:
        made.end()


@root_only
def test_a_new_volume_is_made_ready_and_found_again(volume: Volume):
    assert (first := volume.mount()).returncode == 0, first.stderr
    (volume.folder / "warm").write_text("cache")
    assert volume.mount().returncode == 0, "a second run must change nothing"
    volume.unmount()
    # A machine whose root was replaced: the same volume, by another name.
    assert volume.mount(device="/dev/renamed").returncode == 0
    assert (volume.folder / "warm").read_text() == "cache"


@root_only
def test_a_grown_volume_is_used_whole(volume: Volume):
    assert volume.mount().returncode == 0
    before = shutil.disk_usage(volume.folder).total
    volume.unmount()
    volume.grow(448 * MIB)
    assert volume.mount().returncode == 0
    assert shutil.disk_usage(volume.folder).total > before + 100 * MIB


@root_only
def test_a_disk_with_anything_on_it_is_not_touched(volume: Volume):
    subprocess.run(["mkswap", volume.device], check=True, capture_output=True)
    before = volume.image.read_bytes()[:8192]
    refused = volume.mount()
    assert refused.returncode == 1
    assert "no volume" in refused.stderr
    assert volume.image.read_bytes()[:8192] == before


@root_only
def test_a_full_disk_gets_room_to_collect_and_holds_it_back_again(volume: Volume):
    assert volume.mount().returncode == 0
    ballast = volume.folder / ".ballast"
    held = ballast.stat().st_size
    assert held >= 2 * MIB
    fill = volume.folder / "fill"
    filled = subprocess.run(["cp", "/dev/zero", fill], check=False, capture_output=True, text=True)
    assert "No space left" in filled.stderr
    with pytest.raises(OSError, match="No space left"):
        (volume.folder / "metadata").write_bytes(bytes(MIB))
    room = [volume.programs / "room", volume.folder]
    subprocess.run(room, check=True)
    (volume.folder / "metadata").write_bytes(bytes(MIB))  # collection can write
    fill.unlink()
    subprocess.run(room, check=True)
    assert ballast.stat().st_size == held


# Connects as root and as a user, and says which of the two was answered.
CONNECT = """
import encodings.idna, os, socket, sys  # the first: a user may not be able to read it later
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socket.create_server((address, 80), family=family)
def answered(uid):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setgroups([]); os.setgid(uid); os.setuid(uid)
        try:
            socket.create_connection((address, 80), timeout=1).close()
            os.write(writing, b"y")
        except OSError:
            os.write(writing, b"n")
        finally:
            os._exit(0)
    os.wait()
    os.close(writing)
    return os.read(reading, 1).decode()
print(answered(0), answered(990), answered(1000))
"""


@pytest.fixture
def reached(tmp_path, tool) -> Callable[[Machine, str], list[str]]:
    """Who reaches an address in a network of its own with a machine's firewall: y or n each."""
    tool("nft")
    unshare = tool("unshare")
    tool("ip")

    def ask(machine: Machine, address: str) -> list[str]:
        rules = tmp_path / "rules"
        rules.write_text(next(f for f in recipe(machine).files if "nft" in f.path).content)
        steps = (
            "set -e; ip link set lo up;"
            f" ip addr add {address} dev lo {'nodad' if ':' in address else ''};"
            f" nft -f {rules}; nft -f {rules}; exec {sys.executable} -c '{CONNECT}' {address}"
        )
        done = unshare("--net", "sh", "-c", steps)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return ask


@root_only
@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254"])
def test_the_metadata_service_answers_root_alone(address, reached):
    assert reached(Machine(), address) == ["y", "n", "n"]


@root_only
def test_the_resolver_answers_the_system_but_no_user(reached):
    blocked = Machine(block_resolver=True, nameservers=("9.9.9.9",))
    assert reached(blocked, "169.254.169.253") == ["y", "y", "n"]
    assert reached(Machine(), "169.254.169.253") == ["y", "y", "y"]


@root_only
def test_a_build_in_a_network_of_its_own_is_forwarded_nowhere_near_it(tool, tmp_path):
    """Two networks and a router between them, as BuildKit's bridge has it; root on both ends."""
    unshare = tool("unshare")
    tool("nft")
    rules = tmp_path / "rules"
    rules.write_text(next(f for f in recipe(Machine()).files if "nft" in f.path).content)
    script = tmp_path / "networks.sh"
    script.write_text(
        f"""set -e
mount -t tmpfs none /run  # names of networks live here
ip netns add build; ip netns add cloud
ip link add b0 type veth peer name eth0 netns build
ip link add c0 type veth peer name eth0 netns cloud
ip addr add 10.9.1.1/24 dev b0; ip addr add 10.9.2.1/24 dev c0
ip link set b0 up; ip link set c0 up
ip -n build addr add 10.9.1.2/24 dev eth0; ip -n build link set eth0 up
ip -n build route add default via 10.9.1.1
ip -n cloud addr add 10.9.2.2/24 dev eth0; ip -n cloud addr add 169.254.169.254/32 dev eth0
ip -n cloud link set eth0 up; ip -n cloud route add default via 10.9.2.1
ip route add 169.254.169.254/32 via 10.9.2.2
echo 1 >/proc/sys/net/ipv4/ip_forward
ip netns exec cloud {sys.executable} -c '
import socket, time
server = socket.create_server(("", 80))
print("serving", flush=True)
time.sleep(60)' >{tmp_path}/serving &
server=$!
trap 'kill $server' EXIT
until grep -q serving {tmp_path}/serving; do sleep 0.05; done
try() {{
    ip netns exec build {sys.executable} -c '
import socket, sys
try:
    socket.create_connection((sys.argv[1], 80), timeout=1).close()
    print("y")
except OSError:
    print("n")' $1
}}
try 169.254.169.254
nft -f {rules}
try 169.254.169.254
try 10.9.2.2
"""
    )
    done = unshare("--net", "--mount", "sh", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["y", "n", "y"]


@root_only
def test_a_build_meets_neither_its_worker_nor_the_machines_identity(tool, tmp_path):
    """From the builds' bridge, from a router's side, and from the machine itself, as the worker."""
    unshare = tool("unshare")
    tool("nft")
    rules = tmp_path / "rules"
    rules.write_text(next(f for f in recipe(Machine()).files if "nft" in f.path).content)
    script = tmp_path / "networks.sh"
    script.write_text(
        f"""set -e
mount -t tmpfs none /run
ip netns add build; ip netns add router
ip link set lo up
ip link add buildkit0 type veth peer name eth0 netns build
ip link add ens5 type veth peer name eth0 netns router
ip addr add 100.127.0.1/16 dev buildkit0; ip addr add 10.9.2.1/24 dev ens5
ip link set buildkit0 up; ip link set ens5 up
ip -n build addr add 100.127.0.2/16 dev eth0; ip -n build link set eth0 up
ip -n build route add default via 100.127.0.1
ip -n router addr add 10.9.2.2/24 dev eth0; ip -n router link set eth0 up
ip -n router route add default via 10.9.2.1
echo 1 >/proc/sys/net/ipv4/ip_forward
cat >{tmp_path}/serve <<'END'
import select, socket
ports = (8372, 8373)
servers = [socket.create_server(("", port)) for port in ports]
print("serving", flush=True)
select.select([], [], [], 60)
END
{sys.executable} {tmp_path}/serve >{tmp_path}/here & here=$!
ip netns exec router {sys.executable} {tmp_path}/serve >{tmp_path}/there & there=$!
trap 'kill $here $there' EXIT
until grep -q serving {tmp_path}/here && grep -q serving {tmp_path}/there; do sleep 0.05; done
cat >{tmp_path}/try <<'END'
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()
    print("y", end="")
except OSError:
    print("n", end="")
END
nft -f {rules}
for at in 100.127.0.1 10.9.2.1; do
    for port in 8372 8373; do ip netns exec build {sys.executable} {tmp_path}/try $at $port; done
done; echo
for port in 8372 8373; do ip netns exec router {sys.executable} {tmp_path}/try 10.9.2.1 $port; done
echo
ip netns exec build {sys.executable} {tmp_path}/try 10.9.2.2 8372; echo
for port in 8372 8373; do {sys.executable} {tmp_path}/try 10.9.2.1 $port; done; echo
"""
    )
    done = unshare("--net", "--mount", "sh", script)
    assert done.returncode == 0, done.stderr
    build, router, out, itself = done.stdout.split()
    assert build == "nnnn"
    assert router == "yy"
    assert out == "y", "what is not of this machine is the security groups' to decide"
    assert itself == "yn", "the health check asks the worker; nobody here asks who we are"


def test_a_hibernation_may_swap_and_nothing_else(laid, tmp_path):
    """Else the kernel finds no room for the image as soon as half of the memory is in use."""
    hook = laid(Machine()) / "usr/lib/systemd/system-sleep/torpor"
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text('#!/bin/sh\necho "$@"\n')
    systemctl.chmod(0o755)
    path = {"PATH": f"{systemctl.parent}:{os.environ['PATH']}"}

    def run(when: str) -> str:
        words = [hook, when, "hibernate"]
        return subprocess.run(words, env=path, check=True, capture_output=True, text=True).stdout

    for when, most in (("pre", "infinity"), ("post", "0")):
        assert run(when) == "".join(
            f"set-property --runtime {name}.slice MemorySwapMax={most}\n"
            for name in ("torpor", "torpor-builds")
        )


def test_a_machine_tells_which_one_it_is_and_reads_nothing(laid, tool, tmp_path):
    """By systemd's own socket activation, one process for each connection."""
    tool("systemd-socket-activate")
    program = laid(Machine()) / "usr/libexec/torpor/identity"
    at = tmp_path / "socket"
    options = [f"--listen={at}", "--accept", "--inetd", "--setenv=TORPOR_LAUNCH_TOKEN"]
    environment = {"PATH": os.environ["PATH"], "TORPOR_LAUNCH_TOKEN": f"{uuid.uuid4()}/7"}
    words = ["systemd-socket-activate", *options, program]
    with subprocess.Popen(words, env=environment) as run:
        try:
            while not at.exists():
                assert run.poll() is None
                time.sleep(0.01)
            told = [asyncio.run(identity.read(Address(str(at), 0), 30)) for _ in range(3)]
        finally:
            run.terminate()
    assert all(told), "the router's own reader takes the line"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    launch = environment["TORPOR_LAUNCH_TOKEN"]
    assert {(one.boot_id, one.launch_token) for one in told} == {(boot_id, launch)}
    assert [one.uptime for one in told] == sorted(one.uptime for one in told)


@pytest.fixture
def health(laid, tmp_path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """The health check with a worker that answers, or not, and a systemctl that only says so."""
    programs = laid(Machine(worker=Worker.BUILDKIT)) / "usr/libexec/torpor"
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def ask(worker: str) -> subprocess.CompletedProcess[str]:
        for name, text in (("buildctl", worker), ("systemctl", 'echo "$@"')):
            (bin_folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_folder / name).chmod(0o755)
        script = programs / "health"
        script.write_text(script.read_text().replace("/usr/local/bin/", ""))
        environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "RUNTIME_DIRECTORY": str(tmp_path),
        }
        return subprocess.run(
            [script], check=False, env=environment, capture_output=True, text=True
        )

    return ask


def test_only_the_fifth_failure_in_a_row_restarts_the_worker(health):
    for _ in range(4):
        assert health("exit 1").stdout == ""
    assert health("exit 0").returncode == 0  # one answer, and the count begins anew
    for _ in range(4):
        assert health("exit 1").stdout == ""
    assert health("exit 1").stdout == "restart torpor-worker.service\n"
    assert health("exit 1").stdout == ""


def test_nothing_is_kept_that_has_not_its_checksum(programs, tmp_path):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    curl = bin_folder / "curl"
    curl.write_text('#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\nprintf worker >"$2"\n')
    curl.chmod(0o755)
    right = "87eba76e7f3164534045ba922e7770fb58bbd14ad732bbf5ba6f11cc56989e6e"
    target = tmp_path / "new" / "worker"

    def fetch(sums: str) -> int:
        words = [programs / "fetch", target, sums, "https://x/x", sums, "https://x/a"]
        path = f"{bin_folder}:{os.environ['PATH']}"
        done = subprocess.run(words, check=False, env={"PATH": path}, capture_output=True)
        return done.returncode

    assert fetch("0" * 64) != 0
    assert not target.exists()
    assert fetch(right) == 0
    assert target.read_text() == "worker"
    curl.write_text("#!/bin/sh\nexit 22\n")
    assert fetch(right) == 0, "what is there already is not fetched again"


@pytest.mark.parametrize("system", System)
def test_setup_starts_a_satellite_but_only_prepares_an_image(system, laid, tmp_path):
    programs = laid(Machine(system=system)) / "usr/libexec/torpor"
    setup = programs / "setup"
    setup.write_text(setup.read_text().replace("/usr/libexec/torpor/fetch", "fetch"))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("fetch", "tar", "systemctl", "sysctl", "update-grub"):
        (bin_folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (bin_folder / name).chmod(0o755)
    path = f"{bin_folder}:{os.environ['PATH']}"

    def run(*words: str) -> str:
        made = [setup, *words]
        return subprocess.run(
            made, env={"PATH": path}, check=True, capture_output=True, text=True
        ).stdout

    assert (
        "systemctl start torpor-identity.socket torpor-worker.service torpor-health.timer" in run()
    )
    assert "systemctl start" not in run("image")
    assert "systemctl stop" in run()
    assert "systemctl stop" not in run("image"), "it would end the session that makes the image"
    assert "systemctl enable" in run("image")


# Answers as EC2's metadata service and Secrets Manager do, and notes what it was asked.
CLOUD = """#!{python}
import json, sys
arguments = sys.argv[1:]
open("{log}", "a").write(" ".join(arguments) + "\\n")
where = next(a for a in arguments if a.startswith("http"))
if "--config" in arguments:
    open("{config}", "w").write(open(arguments[arguments.index("--config") + 1]).read())
answers = {{
    "/api/token": "session",
    "/placement/region": "eu-west-1",
    "/iam/security-credentials/": "satellite",
    "/iam/security-credentials/satellite": json.dumps(
        {{"AccessKeyId": "AKIA", "SecretAccessKey": "s/cr+t", "Token": "t0ken"}}
    ),
    "secretsmanager.eu-west-1.amazonaws.com/": json.dumps(
        {{"SecretString": json.dumps({{"certificate": "C\\n", "key": "K\\n", "ca": "A\\n"}})}}
    ),
}}
print(next(text for end, text in answers.items() if where.endswith(end)))
"""


def test_the_certificate_is_fetched_and_no_credential_is_seen(laid, tmp_path):
    machine = Machine(tls_secret="torpor/acme/worker")
    script = laid(machine) / "usr/libexec/torpor/tls"
    script.write_text(script.read_text().replace("chown root", "true"))
    log, config, curl = tmp_path / "log", tmp_path / "config", tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(CLOUD.format(python=sys.executable, log=log, config=config))
    curl.chmod(0o755)
    runtime = tmp_path / "run"
    runtime.mkdir()
    environment = {
        "PATH": f"{curl.parent}:{os.environ['PATH']}",
        "RUNTIME_DIRECTORY": str(runtime),
    }
    subprocess.run([script], check=True, env=environment)
    assert {p.name: (p.read_text(), p.stat().st_mode & 0o777) for p in runtime.iterdir()} == {
        "certificate.pem": ("C\n", 0o600),
        "key.pem": ("K\n", 0o600),
        "ca.pem": ("A\n", 0o600),
    }
    assert config.read_text() == 'user = "AKIA:s/cr+t"\nheader = "x-amz-security-token: t0ken"\n'
    assert "torpor/acme/worker" in log.read_text()
    assert "s/cr+t" not in log.read_text()
    assert "t0ken" not in log.read_text()
