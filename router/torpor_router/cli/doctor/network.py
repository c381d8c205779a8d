"""DNS and TCP."""

from __future__ import annotations

import ipaddress
import socket
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from threading import Thread
from typing import Any

from torpor_provisioner.contract import Address
from torpor_router.cli.doctor.finding import Broken, Finding
from torpor_router.names import written_address


def resolved(address: Address, within: float) -> tuple[list[str], Finding]:
    """The addresses of a host name, in the order in which they are tried.

    Raises:
        Broken
    """
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        pass
    else:
        return [address.host], Finding("DNS", ok=True, detail="not needed: it is an IP address")
    answer: Future[list[Any]] = Future()
    # A daemon: the resolver cannot be interrupted, and the command does not wait for it to end.
    Thread(target=_look_up, args=(address, answer), daemon=True).start()
    try:
        found = list(dict.fromkeys(str(each[4][0]) for each in answer.result(within)))
    except NotInTime:
        raise Broken(
            "DNS",
            f"no answer about {address.host} within {within:g} s",
            "Look at this machine's DNS servers (/etc/resolv.conf), and the way to them",
        ) from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Broken(
            "DNS",
            f"{address.host}: {why}",
            f"Correct the host's name, or make this machine's DNS know {address.host}",
        ) from error
    return found, Finding("DNS", ok=True, detail=f"{address.host} is {', '.join(found)}")


def _look_up(address: Address, answer: Future[list[Any]]) -> None:
    try:
        answer.set_result(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        answer.set_exception(error)


def connected(hosts: list[str], address: Address, within: float) -> tuple[socket.socket, Finding]:
    """A connection to the first of the hosts that takes one.

    Raises:
        Broken
    """
    broken = Broken("TCP", "no address to connect to", "Correct the address")
    for host in hosts:
        where = written_address(Address(host, address.port))
        try:
            connection = socket.create_connection((host, address.port), within)
        except OSError as error:
            broken = _broken(error, where, within)
        else:
            return connection, Finding("TCP", ok=True, detail=f"{where} takes connections")
    raise broken


def _broken(error: OSError, where: str, within: float) -> Broken:
    match error:
        case TimeoutError():
            message = f"{where} does not answer within {within:g} s"
            remedy = "Open the port in the firewalls on the way for this machine, or start it"
        case ConnectionRefusedError():
            message = f"{where} refuses connections"
            remedy = "Check the port, and that 'torpor serve' runs there"
        case _:
            message = f"{where}: {error.strerror or error}"
            remedy = "Check this machine's network, and its route there"
    return Broken("TCP", message, remedy)
