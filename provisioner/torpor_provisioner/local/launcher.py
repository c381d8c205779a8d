"""Starts a worker so that it outlives whoever asked, and so that no crash can lose it.

Run as a program of its own, with the order on standard input. The child writes down who it is
*before* it becomes the worker, and holds the machine's lock until then: the lock was inherited,
is let go by exec, and stays held if the asker is killed meanwhile. So whoever gets the lock next
finds either no worker or one that is written down.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TypedDict

if __package__:
    from torpor_provisioner.local import processes
else:  # run by its path, without the import of a whole package (60 ms of a wake)
    sys.path.insert(0, str(Path(__file__).parent))
    import processes  # type: ignore[import-not-found,no-redef]  # the same file, by another way


class Order(TypedDict):
    command: list[str]
    environment: dict[str, str]
    folder: str  # where the worker is started
    log: str
    process_file: str
    lock: int  # file descriptor
    nice: int
    memory: int  # bytes of address space for each process; 0: no limit


def main() -> int:
    order: Order = json.load(sys.stdin)
    os.set_inheritable(order["lock"], False)  # noqa: FBT003 - the call knows no names
    told, tell = os.pipe()  # ends without a word once the child has become the worker
    if os.fork() == 0:
        os.close(told)
        try:
            _become(order)
        except (OSError, ValueError) as error:
            os.write(tell, json.dumps([getattr(error, "errno", None), str(error)]).encode())
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        sys.stdout.buffer.write(pipe.read())
    return 0


def _become(order: Order) -> None:
    os.setsid()
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if order["nice"]:
        os.nice(order["nice"])
    if order["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    me = processes.me()
    _write_down(me, Path(order["process_file"]))
    environment = order["environment"] | processes.mark(me)
    os.execvpe(order["command"][0], order["command"], environment)  # noqa: S606 - the worker


def _write_down(me: processes.Identity, file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(me._asdict()))
    new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
