"""How machines are kept apart, from each other and from the host.

Each has a network of its own with nothing else in it: QEMU's user network, closed. What comes in is
what the router sends, from the host's loopback address to two ports of the guest; nothing goes
out, neither to the host, nor to other machines, nor to a cloud's metadata service.
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


def closed(worker_port: int, identity_port: int) -> str:
    return (
        f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{worker_port}-:{WORKER}"
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
