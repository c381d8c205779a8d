"""Becomes a program of Postgres, as the right user, tied to the life of its parent.

Run as a program of its own, with the order as its argument: what it does cannot be done between
fork and exec of a process that has threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import TypedDict

PR_SET_PDEATHSIG = 1  # prctl(2)


class Order(TypedDict):
    command: list[str]
    folder: str  # where it runs; entered before privileges are given up
    account: tuple[int, int] | None  # uid and gid to become
    parent: int  # pid of the process that asks


def main() -> None:
    order: Order = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir(order["folder"])
    if order["account"] is not None:  # no import after this: Python may be root's alone to read
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        _end_with_parent(libc, order["parent"])
    else:
        _end_with_input()
    os.execv(order["command"][0], order["command"])  # noqa: S606 - Postgres


def _end_with_parent(libc: ctypes.CDLL, parent: int) -> None:
    """Be told to shut down when the parent dies; not earlier, for setuid clears the request.

    The parent is the very thread that forked, so it must be one that lasts (the main one does).
    """
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before it was asked for
        sys.exit("the process that asked for Postgres is gone")


def _end_with_input() -> None:
    """Where the kernel has no such thing: our input ends with the parent, and a child of ours
    waits for that.
    """
    server = os.getpid()
    if os.fork() > 0:
        return
    while os.read(0, 1):
        pass
    if os.getppid() == server:
        os.kill(server, signal.SIGINT)
    os._exit(0)


if __name__ == "__main__":
    main()
