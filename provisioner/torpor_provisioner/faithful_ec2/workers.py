"""Real processes behind the machines, on the machines' own loopback addresses."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import ProvisionerError
from torpor_provisioner.faithful_ec2.identities import Identities
from torpor_provisioner.faithful_ec2.machine import Order
from torpor_provisioner.faithful_ec2.warden import Warden, end_workers, locked
from torpor_provisioner.local.phases import Action
from torpor_provisioner.local.settings import SAMPLE_ON_PORT, WorkerCommand
from torpor_provisioner.local.worker import Worker

logger = logging.getLogger(__name__)

ACTIONS = {
    Order.THAW: Action.RESUME,
    Order.FREEZE: Action.FREEZE,
    Order.END: Action.END,
    Order.KILL: Action.KILL,
}


class Workers(Protocol):
    def order(self, instance: str, address: str, order: Order, launch_token: str = "") -> None:
        """Have it done soon, after what was ordered before. `launch_token` names the machine's
        launch; see `contract.Spec`."""
        ...

    def behind(self, instance: str) -> bool:
        """Whether something that was ordered has not been done yet."""
        ...

    def close(self) -> None:
        """End every worker."""
        ...


class NoWorkers:
    """For when only the API is looked at."""

    def order(self, instance: str, address: str, order: Order, launch_token: str = "") -> None:
        pass

    def behind(self, instance: str) -> bool:  # noqa: ARG002
        return False

    def close(self) -> None:
        pass


class ProcessWorkers:
    """One command for every machine, in a folder of its own below `folder`."""

    def __init__(self, folder: Path, port: int, command: WorkerCommand = SAMPLE_ON_PORT) -> None:
        self._folder = folder
        self._port = port
        self._command = command
        self._orders: queue.Queue[tuple[str, str, Order, str] | None] = queue.Queue()
        self._ordered: Counter[str] = Counter()
        self._done: Counter[str] = Counter()  # by the thread alone
        self._identities = Identities()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end_workers(folder)  # of one that was killed together with its warden
        self._warden = Warden(folder)
        self._thread = threading.Thread(target=self._run, name="faithful-workers", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<ProcessWorkers {self._folder} {self._warden!r}>"

    def order(self, instance: str, address: str, order: Order, launch_token: str = "") -> None:
        self._ordered[instance] += 1
        self._orders.put((instance, address, order, launch_token))

    def behind(self, instance: str) -> bool:
        return self._done[instance] < self._ordered[instance]

    def close(self) -> None:
        with self._warden:
            self._orders.put(None)
            self._thread.join()
            self._identities.close()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._carry_out(*order)
            except (ProvisionerError, OSError):  # the others are to go on
                logger.exception("the worker of %s could not %s", order[0], order[2])
            finally:
                self._done[order[0]] += 1

    def _carry_out(self, instance: str, address: str, order: Order, launch_token: str) -> None:
        self._identities.order(instance, address, order, launch_token)
        folder = self._folder / instance
        worker = Worker(folder)
        if order is not Order.BOOT:
            worker.act(ACTIONS[order])
            return
        worker.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder) as lock:
            worker.launch(
                self._command.fill(Address(address, self._port), worker.data),
                {
                    "TORPOR_HOST": address,
                    "TORPOR_PORT": str(self._port),
                    "TORPOR_DATA": str(worker.data),
                },
                lock=lock,
                nice=0,
                memory=0,
            )
