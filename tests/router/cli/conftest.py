"""The `satellite` command against a control server over an fake fleet."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from controlkit.fakes import FakeCallers, FakeFleet
from waiting import LONG

from torpor_provisioner.contract import Address
from torpor_provisioner.local import LocalProvisioner, LocalSettings
from torpor_router.access.audit import Audit
from torpor_router.access.directory import Directory
from torpor_router.access.issuing import Issuing
from torpor_router.access.members import Members
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.issuers import Issuers
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_router.cli.satellite import main
from torpor_router.cli.shell_fleet import ShellFleet
from torpor_router.cli.torpor import main as torpor_main
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.operator_calls import OperatorCalls
from torpor_router.control.server import ControlServer
from torpor_router.control.usage_calls import UsageCalls
from torpor_router.control.webhook_calls import WebhookCalls
from torpor_router.notices.sealing import Seal
from torpor_router.notices.webhooks import Webhooks
from torpor_router.probe import answers
from torpor_router.usage.prices import Price, Prices
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.usage import Usage

NOTHING: Any = None
WEBHOOK_KEY = b"0" * 43 + b"="
WHOAMI_ALONE = AccessCalls(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, issuing=NOTHING)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """What went wrong, told under --json."""
        return json.loads(self.err)["error"]


@dataclass
class Commands:
    """`satellite`, with what it is told of its router by the environment."""

    fleet: FakeFleet
    server: ControlServer
    environment: dict[str, str] = field(default_factory=dict)

    async def serve(self, where: Address) -> None:
        bound = await self.server.start(where)
        self.environment = {"TORPOR_ADDRESS": f"{bound[0]}:{bound[1]}", "TORPOR_TOKEN": "acme"}  # type: ignore[index]

    async def replace_router(self) -> None:
        """Let another router take the place of this one, on the same fleet."""
        host, _, port = self.environment["TORPOR_ADDRESS"].partition(":")
        await self.server.drain(LONG)
        await self.server.aclose()
        self.server = ControlServer(self.fleet, FakeCallers(), access=WHOAMI_ALONE, beat=0.2)
        await self.serve(Address(host, int(port)))

    async def run(self, *arguments: str, **environment: str) -> Done:
        """In this process, on a thread."""
        variables = {**self.environment, **environment}
        done = await asyncio.wait_for(
            asyncio.to_thread(CliRunner().invoke, main, arguments, env=variables), LONG
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    async def start(self, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
        """As a process of its own."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "torpor_router.cli.satellite", *arguments),
            env={**os.environ, **self.environment},
            **{"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **options},
        )


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The account that runs the tests may use Torpor."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in list(os.environ):
        if name.startswith("TORPOR_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def commands() -> AsyncIterator[Callable[..., Awaitable[Commands]]]:
    """The command of the owner of these satellites; what begins with them also ends."""
    made: list[Commands] = []

    async def make(*satellites: Satellite, by_itself: bool = True, beat: float = 0.2) -> Commands:
        fleet = FakeFleet(*satellites, by_itself=by_itself)
        server = ControlServer(fleet, FakeCallers(), access=WHOAMI_ALONE, beat=beat)
        made.append(Commands(fleet, server))
        await made[-1].serve(Address("127.0.0.1", 0))
        return made[-1]

    yield make
    for each in made:
        await each.server.aclose()
        await each.fleet.aclose()


@pytest.fixture
def torpor(database_url: str) -> Callable[..., Awaitable[Result]]:
    """Run `torpor` on the test's database, with what is typed on its terminal as `typed`."""

    async def run(
        *arguments: str, url: str | None = database_url, typed: str | None = None
    ) -> Result:
        environment = {"TORPOR_DATABASE_URL": url}
        # in a thread: each command has an event loop of its own
        return await asyncio.to_thread(
            CliRunner().invoke, torpor_main, arguments, env=environment, input=typed
        )

    return run


_ON_THE_DATABASE = ("budget", "runaway", "webhook", "migrate", "ca", "cert", "usage", "doctor")


@pytest.fixture
async def operators_router(database: Database) -> AsyncIterator[tuple[str, str]]:
    """A router of the test's database without a node, and an operator's token."""
    store = Store(database)
    _, token = await store.create_token("", "remote", role=Role.OPERATOR)
    async with Directory(database) as directory, Audit(database) as audit:
        rules = TrustRules(database)
        exchange = Exchange(rules, lambda: Issuers(time.monotonic), audit)
        access = AccessCalls(
            *(store, Members(database), audit, rules, exchange), issuing=Issuing(database, None)
        )
        server = ControlServer(
            ShellFleet(database),
            directory,
            access=access,
            operators=OperatorCalls(database),
            audit=audit,
        )
        bound = await server.start(Address("127.0.0.1", 0))
        yield f"{bound[0]}:{bound[1]}", token  # type: ignore[index]
        await server.aclose()


@pytest.fixture(params=["database", "router"])
def either_way(
    request: pytest.FixtureRequest,
    torpor: Callable[..., Awaitable[Result]],
    database_url: str,
    operators_router: tuple[str, str],
) -> Callable[..., Awaitable[Result]]:
    """Run `torpor` on the test's database, or at a router of it by an operator's token."""
    if request.param == "database":
        return torpor
    address, token = operators_router

    async def run(*arguments: str) -> Result:
        here = arguments[0] in _ON_THE_DATABASE or {"revived", "-"} & set(arguments)
        way = () if here else ("--address", address)
        environment = {"TORPOR_DATABASE_URL": database_url, "TORPOR_TOKEN": token}
        return await asyncio.to_thread(
            CliRunner().invoke, torpor_main, (*arguments, *way), env=environment
        )

    return run


Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def issuers() -> Callable[[], Issuers]:
    """Where the router of `house` looks for the keys of identity providers."""
    return lambda: Issuers(time.monotonic)


@pytest.fixture
async def house(
    database: Database, tmp_path: Path, issuers: Callable[[], Issuers]
) -> AsyncIterator[tuple[Run, LocalProvisioner]]:
    """The command, as acme's owner runs it, and the machines that it has an effect on."""
    async with AsyncExitStack() as stack:
        local = LocalProvisioner(tmp_path / "local", LocalSettings())
        stack.push_async_callback(local.aclose)
        fleet = Fleet(database, {"local": local}, probe=answers)
        stack.push_async_callback(_end_all, local)
        stack.push_async_callback(fleet.aclose)
        await fleet.start()
        directory = await stack.enter_async_context(Directory(database))
        store = Store(database)
        await store.create_org("acme")
        _, token = await store.create_token("acme", "ci", None)
        audit, rules = await stack.enter_async_context(Audit(database)), TrustRules(database)
        exchange = Exchange(rules, issuers, audit)
        issuing = Issuing(database, None)
        access = AccessCalls(store, Members(database), audit, rules, exchange, issuing=issuing)
        prices = Prices("USD", {"local": {"default": Price(Decimal(36), Decimal(0))}})
        usage = UsageCalls(Usage(database), prices)
        webhooks = WebhookCalls(Webhooks(database, Seal([WEBHOOK_KEY])))
        server = ControlServer(
            fleet, directory, access=access, usage=usage, webhooks=webhooks, audit=audit
        )
        stack.push_async_callback(server.aclose)
        bound = await server.start(Address("127.0.0.1", 0))

        async def run(*arguments: str, token: str = token) -> Any:
            environment = {"TORPOR_ADDRESS": f"{bound[0]}:{bound[1]}", "TORPOR_TOKEN": token}  # type: ignore[index]
            return await asyncio.wait_for(
                asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment), LONG
            )

        yield run, local


async def _end_all(local: LocalProvisioner) -> None:
    for ref in await local.owned():
        await local.terminate(ref)
