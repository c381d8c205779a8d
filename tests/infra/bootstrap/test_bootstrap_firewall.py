"""The satellite's firewall, in networks of its own: who reaches what."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from torpor_provisioner.bootstrap import Machine, recipe

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="networks are root's")


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
