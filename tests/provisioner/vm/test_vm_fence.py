"""A way out to the internet that leads nowhere else: the rules, as the kernel carries them out.

They are tried in networks made for that: `here` is a host, `world` all that is around it. The last
test does it from inside a machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import vmkit.machines
from vmkit.machines import WITHIN, images, needs_qemu

from torpor_provisioner.errors import Invalid
from torpor_provisioner.vm import VmSettings
from torpor_provisioner.vm.errors import NoFence
from torpor_provisioner.vm.fence import Fence, Reach, rules

root_only = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("nft", "ip", "unshare"))),
    reason="networks are root's, and need nftables and iproute2",
)
ACCOUNTS = range(81_000, 81_010)
PUBLIC, PRIVATE, METADATA = "198.51.100.10", "10.9.9.9", "169.254.169.254"
HERE = "198.51.100.1"
# Who listens there answers all; names are asked for at PRIVATE, which here is also the resolver.
SETUP = """
set -e
mount -t tmpfs none /run  # names of networks live here
echo nameserver {private} >{folder}/resolv.conf
mount --bind {folder}/resolv.conf /etc/resolv.conf
ip link set lo up
ip netns add world
ip link add out type veth peer name eth0 netns world
ip addr add {here}/24 dev out; ip addr add 10.9.9.1/24 dev out; ip link set out up
ip route add {metadata}/32 via {public}
ip -n world link set lo up; ip -n world link set eth0 up
for each in {public}/24 {private}/24 {metadata}/32; do ip -n world addr add $each dev eth0; done
ip netns exec world {python} {folder}/serve.py >{folder}/world & world=$!
{python} {folder}/serve.py >{folder}/here & here=$!
trap 'kill $world $here' EXIT
until grep -q serving {folder}/world && grep -q serving {folder}/here; do sleep 0.05; done
"""
SERVE = """
import socket, struct, threading
def names():
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("", 53))
    while True:
        said, who = asked.recvfrom(512)
        question = said[12:said.index(0, 12) + 5]
        answer = bytes.fromhex("c00c00010001000000010004") + socket.inet_aton("198.51.100.10")
        head = said[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
        asked.sendto(head + question + answer, who)
threading.Thread(target=names, daemon=True).start()
server = socket.create_server(("", 80))
print("serving", flush=True)
while True:
    server.accept()[0].close()
"""
CONNECT = """
import os, socket, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
for place in sys.argv[2:]:
    host, port = place.rsplit(":", 1)
    with socket.socket() as line:
        line.settimeout(5)
        if line.connect_ex((host, int(port))) == 0:
            print(place)
"""


@pytest.fixture
def networks(tmp_path: Path) -> Callable[[str], str]:
    """Runs shell commands in `here`; gives what they print."""
    (tmp_path / "serve.py").write_text(SERVE)
    names = {"private": PRIVATE, "here": HERE, "metadata": METADATA, "public": PUBLIC}
    setup = SETUP.format(folder=tmp_path, python=sys.executable, **names)

    def run(script: str) -> str:
        (tmp_path / "script").write_text(setup + script)
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", tmp_path / "script"],
            capture_output=True,
            text=True,
            timeout=WITHIN * 2,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@root_only
def test_an_account_of_a_machine_reaches_the_internet_and_what_is_named(networks, tmp_path):
    (tmp_path / "connect.py").write_text(CONNECT)
    for name, reach in {
        "internet": Reach(internet=True),
        "named": Reach(internet=False, networks=("10.9.9.0/24",)),
    }.items():
        (tmp_path / name).write_text(rules(ACCOUNTS, reach, ["10.9.9.53"]))
    places = f"{PUBLIC}:80 {PRIVATE}:80 {METADATA}:80 {HERE}:80 127.0.0.1:80"
    trying = f"{sys.executable} {tmp_path}/connect.py"
    said = networks(
        f"""
nft -f {tmp_path}/internet; nft -f {tmp_path}/internet
echo of machines; {trying} {ACCOUNTS.start} {places}; {trying} {ACCOUNTS.stop - 1} {places}
echo others; {trying} {ACCOUNTS.stop} {places}
nft -f {tmp_path}/named
echo named; {trying} {ACCOUNTS.start} {places}
nft list tables
"""
    )
    of_machines, others = said.split("of machines\n")[1].split("others\n")
    assert of_machines.split() == [f"{PUBLIC}:80", f"{PUBLIC}:80"]
    others, named = others.split("named\n")
    assert others.split() == places.split(), "the host's own accounts are none of its business"
    assert named.split() == [f"{PRIVATE}:80", "table", "inet", f"torpor-vm-{ACCOUNTS.start}"]


def test_what_is_no_reach_is_refused(tmp_path):
    assert Reach.read("") is None
    assert Reach.read(" internet, 10.1.0.0/16 ") == Reach(internet=True, networks=("10.1.0.0/16",))
    for text in ("everything", "10.1.0.0/8", "fd00::/8", "10.0.0.300"):
        with pytest.raises(Invalid, match="neither 'internet' nor an IPv4 range"):
            VmSettings.from_environment({"TORPOR_VM_REACH": text}, tmp_path)


def test_a_way_out_needs_machines_that_can_be_told_apart(tmp_path):
    settings = VmSettings(images=tmp_path, reach=Reach(internet=True))
    with pytest.raises(Invalid, match="needs a router that is root"):
        settings.fence()
    assert VmSettings(images=tmp_path).fence() is None


def test_without_the_rules_no_machine_is_started(tmp_path, monkeypatch):
    fence = Fence(ACCOUNTS, Reach(internet=True))
    monkeypatch.setattr("torpor_provisioner.vm.fence._PATH", str(tmp_path))
    with pytest.raises(NoFence, match="nft is not installed"):
        fence.keep(now=True)
    refuses = tmp_path / "nft"
    refuses.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    refuses.chmod(0o755)
    with pytest.raises(NoFence, match=r"TPR-2224.*Operation not permitted"):
        fence.keep(now=True)


def test_rules_that_somebody_has_flushed_are_set_again(tmp_path, monkeypatch):
    counts = tmp_path / "nft"
    counts.write_text(f"#!/bin/sh\necho once >>{tmp_path}/times\n")
    counts.chmod(0o755)
    monkeypatch.setattr("torpor_provisioner.vm.fence._PATH", f"{tmp_path}:/bin")
    fence = Fence(ACCOUNTS, Reach(internet=True))
    for now in (False, False, True, False):  # the first look, and each start
        fence.keep(now=now)
    assert (tmp_path / "times").read_text().split() == ["once", "once"]


@root_only
@needs_qemu
@pytest.mark.slow  # two machines
@pytest.mark.timeout(600)
def test_a_build_reaches_the_internet_and_nobody_else(networks, vm_image):
    """From inside a machine, after its launch and after a sleep."""
    kit = Path(vmkit.machines.__file__).parents[1]
    said = networks(
        f"PYTHONPATH={kit} {sys.executable} -m vmkit.way_out {images()} {ACCOUNTS.start}"
    )
    told = json.loads(said.splitlines()[-1])
    assert told["name"] == [PUBLIC], "by the host's resolver"
    reached = [f"{PUBLIC}:80", "10.0.2.15:8372"]
    assert told["launched"] == reached
    assert told["woken"] == reached
    assert told["tried"] > len(reached)
