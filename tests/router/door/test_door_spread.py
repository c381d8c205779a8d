"""New connections are spread over the processes that share a port."""

from __future__ import annotations

import socket

from torpor_router.door import bound

PROCESSES = 2
CONNECTIONS = 2_000  # the kernel draws for each: a share is off by a tenth once in 100,000 times
AT_A_TIME = 250


def test_each_gets_its_share_within_a_tenth():
    first = bound("127.0.0.1", 0, reuse_port=True)
    address = first.getsockname()
    listeners = [first, *(bound(*address, reuse_port=True) for _ in range(PROCESSES - 1))]
    for each in listeners:
        each.listen(AT_A_TIME * 2)
    shares = [0] * PROCESSES
    for _ in range(CONNECTIONS // AT_A_TIME):
        clients = [socket.create_connection(address) for _ in range(AT_A_TIME)]
        for number, listener in enumerate(listeners):
            while (taken := accepted(listener)) is not None:
                taken.close()
                shares[number] += 1
        for each in clients:
            each.close()
    for each in listeners:
        each.close()
    assert sum(shares) == CONNECTIONS
    even = CONNECTIONS / PROCESSES
    assert all(abs(share - even) <= even / 10 for share in shares)


def accepted(listener):
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None
