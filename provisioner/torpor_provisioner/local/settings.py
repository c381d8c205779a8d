"""How this machine is to play a cloud: worker commands, ports, delays."""

from __future__ import annotations

import re
import shlex
import shutil
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torpor_provisioner.accounts import is_root
from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Invalid
from torpor_provisioner.local import accounts
from torpor_provisioner.local.phases import Timing

DEFAULT = "default"
FIELDS = ("socket", "host", "port", "data")
PREFIX = "TORPOR_LOCAL_"
LOOPBACK = "127.0.0.1"
ROUTERS_OWN = "router"
ACCOUNTS = range(70_000, 80_000)  # above those with names, below those for user namespaces
MAX_SATELLITES = 20
PORTS = range(20000, 30000)  # below what kernels give to outgoing connections


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """A program and its arguments; {socket}, or {host} and {port}, and {data} are filled in for
    each satellite."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> WorkerCommand:
        """Read a command line as a shell would split it; no shell runs it.

        Raises:
            Invalid: it is empty, or names a field that there is not.
        """
        try:
            command = cls(tuple(shlex.split(template)))
            unknown = command._fields() - {None, *FIELDS}
        except ValueError as error:
            raise Invalid(f"the worker command {template!r} cannot be read: {error}") from error
        if not command.words or unknown:
            raise Invalid(
                f"the worker command {template!r} "
                + (f"names {sorted(map(str, unknown))}" if unknown else "is empty")
                + "; it may use {socket} or {host} and {port}, {data}, and {{ for a brace"
            )
        return command

    @property
    def on_socket(self) -> bool:
        """Whether it listens on a Unix socket: it names {socket}. Else on a port, which every
        account of this machine reaches."""
        return "socket" in self._fields()

    def fill(self, address: Address, data: Path) -> list[str]:
        """The command of one satellite, whose worker is to listen at `address`."""
        host, port = address
        return [word.format(socket=host, host=host, port=port, data=data) for word in self.words]

    def _fields(self) -> set[str | None]:
        return {name for word in self.words for _, name, _, _ in string.Formatter().parse(word)}

    def check(self) -> None:
        """Raise Invalid if its program is not on this machine."""
        if shutil.which(self.words[0]) is None:
            raise Invalid(f"the worker's program {self.words[0]!r} is not on this machine")


def _sample(*where: str) -> WorkerCommand:
    python = sys.executable.replace("{", "{{").replace("}", "}}")
    return WorkerCommand(
        (python, "-m", "torpor_provisioner.sample", *where, "--data", "{data}"),
    )


SAMPLE = _sample("--socket", "{socket}")
SAMPLE_ON_PORT = _sample("--host", "{host}", "--port", "{port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What an operator may set.

    `workers` are commands by name: a satellite takes the one its setting `worker` names, else
    "default", which is the sample worker unless given. They are the operator's, never a
    tenant's: a caller that may launch a satellite may not choose what runs on this machine.
    """

    workers: Mapping[str, WorkerCommand] = field(default_factory=dict)
    host: str = LOOPBACK
    ports: range = PORTS
    timing: Timing = field(default_factory=Timing)
    max_satellites: int = MAX_SATELLITES  # an org; 0: no limit
    nice: int = 0
    accounts: range | None = None  # user numbers, one a satellite; None: the router's own
    memory: int = 0  # bytes of address space for each process of a worker; 0: no limit

    def worker(self, settings: Mapping[str, str]) -> WorkerCommand:
        """The command for a satellite with these settings.

        Raises:
            Invalid: there is no such worker, or no such setting.
        """
        unknown = set(settings) - {"worker"}
        if unknown:
            raise Invalid(f"local satellites have the setting 'worker', not {sorted(unknown)}")
        name, known = settings.get("worker", DEFAULT), self._known()
        if name not in known:
            raise Invalid(f"there is no worker {name!r}; this deployment has {sorted(known)}")
        return known[name]

    def workers_on_ports(self) -> list[str]:
        """The names of the workers that any account of this machine reaches past the door."""
        return sorted(name for name, each in self._known().items() if not each.on_socket)

    def check_accounts(self, data_dir: Path) -> None:
        """Raise NoAccount if workers below `data_dir` cannot run as the accounts they should."""
        if self.accounts is not None:
            programs = (command.words[0] for command in self._known().values())
            accounts.check(self.accounts, data_dir, programs)

    def _known(self) -> Mapping[str, WorkerCommand]:
        return {DEFAULT: SAMPLE, **self.workers}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> LocalSettings:
        """Read the variables below; all may be absent.

        TORPOR_LOCAL_WORKER          the default worker's command
        TORPOR_LOCAL_WORKER_<NAME>   another one, chosen by the setting worker=<name>
        TORPOR_LOCAL_HOST            the loopback address of workers that listen on a port
        TORPOR_LOCAL_PORTS           FIRST-LAST
        TORPOR_LOCAL_START_DELAY, _RESUME_DELAY, _FREEZE_DELAY, _STOP_GRACE   seconds
        TORPOR_LOCAL_ACCOUNTS        FIRST-LAST, or "router": as the router's own
        TORPOR_LOCAL_MAX_SATELLITES  of one org; 0: no limit
        TORPOR_LOCAL_NICE            0 to 19
        TORPOR_LOCAL_MEMORY          bytes

        Raises:
            Invalid: one of them cannot be read; its name is in the detail.
        """
        default = Timing()
        return cls(
            workers=_workers(environ),
            host=environ.get(PREFIX + "HOST", LOOPBACK),
            ports=_ports(environ.get(PREFIX + "PORTS")),
            timing=Timing(
                start_delay=_number(environ, "START_DELAY", default.start_delay),
                resume_delay=_number(environ, "RESUME_DELAY", default.resume_delay),
                freeze_delay=_number(environ, "FREEZE_DELAY", default.freeze_delay),
                stop_grace=_number(environ, "STOP_GRACE", default.stop_grace),
            ),
            accounts=_accounts(environ.get(PREFIX + "ACCOUNTS")),
            max_satellites=_whole(environ, "MAX_SATELLITES", MAX_SATELLITES),
            nice=_nice(environ),
            memory=_whole(environ, "MEMORY", 0),
        )


def _workers(environ: Mapping[str, str]) -> dict[str, WorkerCommand]:
    workers = {}
    for variable, template in environ.items():
        found = re.fullmatch(PREFIX + r"WORKER(?:_(\w+))?", variable)
        if found:
            name = (found[1] or DEFAULT).lower().replace("_", "-")
            workers[name] = WorkerCommand.parse(template)
    return workers


def _ports(text: str | None) -> range:
    return PORTS if text is None else _range("PORTS", text, 65_535)


def _accounts(text: str | None) -> range | None:
    if text == ROUTERS_OWN or (text is None and not is_root()):
        return None
    if not is_root():
        raise Invalid(f"{PREFIX}ACCOUNTS is {text!r}; only root runs workers as other accounts")
    return ACCOUNTS if text is None else _range("ACCOUNTS", text, 2**31 - 1)


def _range(name: str, text: str, largest: int) -> range:
    found = re.fullmatch(r"(\d{1,10})-(\d{1,10})", text)
    if not found or not 0 < int(found[1]) <= int(found[2]) <= largest:
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be FIRST-LAST, within 1 to {largest}")
    return range(int(found[1]), int(found[2]) + 1)


def _nice(environ: Mapping[str, str]) -> int:
    nice = _number(environ, "NICE", 0)
    if nice not in range(20):
        raise Invalid(f"{PREFIX}NICE is {nice}; it must be a whole number from 0 to 19")
    return int(nice)


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    number = _number(environ, name, default)
    if number != int(number):
        raise Invalid(f"{PREFIX}{name} is {environ[PREFIX + name]!r}; it must be a whole number")
    return int(number)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(PREFIX + name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,15}(\.\d+)?", text):
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be a number, 0 or more")
    return float(text)
