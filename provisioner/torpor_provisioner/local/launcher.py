"""Starts a worker so that it outlives its caller, so that no crash can lose it, and so that
nothing it starts can leave it.

Run as a program of its own, with the order on standard input. Its child stays, as the worker's
keeper: what a build puts into the background, in whatever session, becomes the keeper's child when
its own parents are gone, so that the keeper's descendants are all there is of the worker
(PR_SET_CHILD_SUBREAPER of prctl(2); elsewhere than on Linux they go to process 1). When the worker
ends, the keeper writes down how, ends what is left, and ends.

The worker writes down who it is *before* it becomes the command, and holds the machine's lock
until then: the lock was inherited, is let go by exec, and stays held if the asker is killed
meanwhile. So the next holder of the lock finds either no worker or one that is written down.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypedDict

if __package__:
    from torpor_provisioner.local import processes
else:  # run by its path, without the import of a whole package (60 ms of a wake)
    sys.path.insert(0, str(Path(__file__).parent))
    import processes  # type: ignore[import-not-found,no-redef]  # the same file, by another way

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class Order(TypedDict):
    command: list[str]
    environment: dict[str, str]
    folder: str  # where the worker is started
    log: str
    process_file: str  # who the worker is
    keeper_file: str  # who its keeper is
    exit_file: str  # how it ended
    identity: str  # path of the socket where the keeper says which machine this is; empty: none
    launch_token: str
    account: tuple[int, int] | None  # uid and gid to become
    cgroup: str  # a folder, to live in; empty: the asker's own
    lock: int  # file descriptor
    nice: int
    memory: int  # bytes of address space for each process; 0: no limit


def main() -> int:
    order: Order = json.load(sys.stdin)
    os.set_inheritable(order["lock"], False)  # noqa: FBT003 - the call knows no names
    reading, writing = os.pipe()  # ends without a word once the grandchild has become the worker
    if os.fork() == 0:
        os.close(reading)
        try:
            _keep(order, writing)
        except (OSError, ValueError) as error:
            os.write(writing, json.dumps([getattr(error, "errno", None), str(error)]).encode())
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        sys.stdout.buffer.write(pipe.read())
    return 0


def _keep(order: Order, writing: int) -> NoReturn:
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _write_down(processes.me()._asdict(), Path(order["keeper_file"]))
    began = time.monotonic()
    worker = os.fork()
    if worker == 0:
        _become(order)
    os.close(writing)
    os.close(order["lock"])
    _let_go_of_the_asker()
    if order["identity"]:
        with suppress(OSError):  # without it, the machine is believed as it is seen
            _say_who_this_is(order["identity"], order["launch_token"], began)
    status = _reaped(worker)
    ended = {
        "pid": worker,
        "code": os.waitstatus_to_exitcode(status),
        "lived": time.monotonic() - began,
        "at": time.time(),
    }
    with suppress(OSError):  # the folder is gone, or the disk is full: it has ended all the same
        _write_down(ended, Path(order["exit_file"]))
    _end_what_is_left()
    os._exit(0)


def _become(order: Order) -> NoReturn:
    os.setsid()
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if order["nice"]:
        os.nice(order["nice"])
    if order["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    if order["cgroup"]:
        with suppress(OSError):  # without it, what belongs to the worker is found by descent alone
            Path(order["cgroup"], "cgroup.procs").write_text("0")
    me = processes.me()
    _write_down(me._asdict(), Path(order["process_file"]))
    if order["account"] is not None:
        uid, gid = order["account"]
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    environment = order["environment"] | processes.mark(me)
    os.execvpe(order["command"][0], order["command"], environment)  # noqa: S606 - the worker


def _let_go_of_the_asker() -> None:
    """Who reads our output waits for its end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    os.chdir("/")


def _say_who_this_is(path: str, launch_token: str, began: float) -> None:
    """Serve `torpor_provisioner.identity` for as long as the keeper lives; it goes on while the
    worker is frozen, and is another boot's after the next start."""
    import socket  # here, where no wake waits for it
    import threading

    with suppress(FileNotFoundError):
        Path(path).unlink()  # an earlier keeper's
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    boot_id = os.urandom(16).hex()

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            uptime = round(time.monotonic() - began, 3)
            identity = {"boot_id": boot_id, "launch_token": launch_token, "uptime": uptime}
            with connection, suppress(OSError):
                connection.settimeout(1.0)
                connection.sendall(json.dumps(identity).encode() + b"\n")

    threading.Thread(target=serve, daemon=True).start()


def _reaped(worker: int) -> int:
    """The worker's wait status, once it has ended; what it left to us is collected meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == worker:
            return status


def _end_what_is_left() -> None:
    """A child that is killed leaves us its own children, until there are none."""
    while True:
        for process in processes.table():
            if process.parent == os.getpid():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.identity.pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _write_down(what: Mapping[str, object], file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(what))
    new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
