"""A way out for machines, and what they never reach by it.

A machine's connections are made by its own hypervisor, which runs as an account of its own. So the
host's kernel tells them apart by their account (nftables, `meta skuid`), and lets them go to the
public internet and to what an operator has named: not to the host itself, not to another machine,
not to a cloud's metadata service, not to private networks.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torpor_provisioner.errors import Invalid
from torpor_provisioner.vm.errors import NoFence

PROGRAM = "nft"
INTERNET = "internet"
LOOKS_EVERY = 30.0  # seconds; somebody may flush all rules of a host
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"  # Debian keeps nft out of the PATH of ordinary users
_RESOLVERS = Path("/etc/resolv.conf")
# RFC 6890's that are no place on the internet, and what is multicast or reserved.
_NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where machines may connect to, beside nothing. IPv4: their network has no other."""

    internet: bool
    networks: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """`internet` and ranges of addresses, with commas between them; nothing: None.

        Raises:
            Invalid: a part is neither.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            return None
        ranges = [_range(part) for part in parts if part != INTERNET]
        return cls(INTERNET in parts, tuple(ranges))


def rules(accounts: range, reach: Reach, resolvers: Sequence[str]) -> str:
    """For `nft -f`: the table as it shall be, whatever it was. It has the accounts in its name, for
    other routers of this host have others."""
    table = f"inet torpor-vm-{accounts.start}"
    lines = [f"ip daddr {each} udp dport 53 accept" for each in resolvers]
    # Its own addresses, loopback among them, and what is sent to many.
    lines += ["fib daddr type != unicast counter reject with icmpx admin-prohibited"]
    lines += [f"ip daddr {each} accept" for each in reach.networks]
    if reach.internet:
        lines += [f"ip daddr != {{ {', '.join(_NOT_PUBLIC)} }} accept"]
    lines += ["counter reject with icmpx admin-prohibited"]
    allowed = "\n".join(f"        {line}" for line in lines)
    return f"""table {table} {{}}
delete table {table}
table {table} {{
    chain output {{
        type filter hook output priority filter; policy accept;
        meta skuid {accounts.start}-{accounts.stop - 1} goto machines
    }}
    chain machines {{
        ct state established accept comment "answers to a router, too"
{allowed}
    }}
}}
"""


class Fence:
    """Those rules, on this host, for as long as there are machines. May be kept by many at once."""

    def __init__(self, accounts: range, reach: Reach) -> None:
        self._accounts = accounts
        self._reach = reach
        self._looked = -LOOKS_EVERY
        self._lock = threading.Lock()

    def keep(self, *, now: bool) -> None:
        """Have the rules be there: `now`, before a machine starts, or when a look is due. Blocking.

        Raises:
            NoFence: they cannot be set.
        """
        with self._lock:
            if now or time.monotonic() - self._looked >= LOOKS_EVERY:
                _apply(rules(self._accounts, self._reach, _resolvers()))
                self._looked = time.monotonic()


def _apply(text: str) -> None:
    if shutil.which(PROGRAM, path=_PATH) is None:
        raise NoFence(f"{PROGRAM} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - rules of our own
            [PROGRAM, "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": _PATH},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoFence(str(error)) from error
    if done.returncode != 0:
        raise NoFence(done.stderr.strip()[-300:])


def _resolvers() -> list[str]:
    """Whom the host asks for names, and its machines through their hypervisors."""
    try:
        found = re.findall(r"^nameserver\s+([\d.]+)\s*$", _RESOLVERS.read_text(), re.MULTILINE)
    except OSError:
        return []
    return [each for each in found if _is_address(each)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _range(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise Invalid(f"{text!r} is neither {INTERNET!r} nor an IPv4 range: {error}") from error
