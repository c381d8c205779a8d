"""How machines are kept apart, from each other and from the host.

Each has a network of its own with nothing else in it: QEMU's user network. What comes in is what
the router sends, from the host's loopback address to two ports of the guest. Nothing goes out,
neither to the host, nor to other machines, nor to a cloud's metadata service; where an operator
opens it, `fence` keeps it from all of those still.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from torpor_provisioner.errors import Capacity
from torpor_provisioner.identity import PORT as IDENTITY

HOST = "127.0.0.1"
WORKER = 8372
PORTS = range(30_000, 32_768)  # below what kernels give to outgoing connections


def network(worker_port: int, identity_port: int, *, is_open: bool = False) -> str:
    """QEMU's user network; one that is open needs `fence`, which knows no IPv6."""
    kind = "restrict=off,ipv4=on,ipv6=off" if is_open else "restrict=on"
    return (
        f"user,id=net,{kind},hostfwd=tcp:{HOST}:{worker_port}-:{WORKER}"
        f",hostfwd=tcp:{HOST}:{identity_port}-:{IDENTITY}"
    )


def free_ports(count: int, taken: Collection[int], ports: range = PORTS) -> list[int]:
    """Ports that no machine has and nobody listens on.

    Raises:
        Capacity: there are not as many.
    """
    found: list[int] = []
    choice = [port for port in ports if port not in taken]
    random.shuffle(choice)  # other data folders of this host choose from the same range
    for port in choice:
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise Capacity(f"no port of {ports} is free")
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
