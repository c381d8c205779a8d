"""torpor.v1 served in this process, on the database itself: for an operator's `torpor`.

It does what a router does with the same calls, and writes the same into the audit log; the caller
holds the database's URL, and may do everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from torpor_provisioner.errors import TorporError
from torpor_router.access.audit import Act, Audit
from torpor_router.access.issuing import Issuing
from torpor_router.access.members import Members
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import Grant, Right
from torpor_router.access.store import Store
from torpor_router.access.verdict import NO_ORG, Caller
from torpor_router.cli.acting import actor
from torpor_router.cli.failures import Failed, Failure
from torpor_router.cli.shell_fleet import ShellFleet
from torpor_router.cli.storage import Storage, migrated
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.adapter import ACCESS, OPERATORS, ORG, SATELLITES, Method, about
from torpor_router.control.auditing import Auditing
from torpor_router.control.calls import Calls
from torpor_router.control.detached import DetachedTasks
from torpor_router.control.operator_calls import OperatorCalls

if TYPE_CHECKING:
    from torpor_router.access.oidc.issuers import Issuers
    from torpor_statemachine.postgres.pool import Database

_Answer = TypeVar("_Answer")
_Metadata = Iterable[tuple[str, str]]


class DatabaseChannel:
    """What stubs of torpor.v1 need of a `grpc.Channel`. It is used by one thread.

    Its calls raise `Failed`. Interrupting one stops nothing that was accepted.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack = AsyncExitStack()
        self._runner = asyncio.Runner()
        self._detached = DetachedTasks()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        try:
            database = self._run(self._stack.enter_async_context(self._storage.opened()))
        except BaseException:
            self._runner.close()
            raise
        self._store = Store(database)
        audit = Audit(database)
        self._auditing = Auditing(audit)
        operators = OperatorCalls(database)
        satellites = Calls(ShellFleet(database), default_provisioner="", stop=asyncio.Event())
        for detached in (self._detached, satellites.detached, operators.detached):
            self._stack.push_async_callback(detached.finish)
        services = (
            (SATELLITES, satellites),
            (ACCESS, _access(database, self._store, audit)),
            (OPERATORS, operators),
        )
        self._methods = {
            f"/{service.full_name}/{method.name}": Method(method, calls)
            for service, calls in services
            for method in service.methods
        }
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._runner.run(self._stack.aclose())
        finally:
            self._runner.close()

    def close(self) -> None:
        """Nothing to do: `__exit__` closes it."""

    def unary_unary(self, path: str, *_: object, **__: object) -> Callable[..., Any]:
        def call(request: Any, timeout: float = 0, metadata: _Metadata = ()) -> Any:  # noqa: ARG001
            return self._run(self._one(self._methods[path], request, metadata))

        return call

    def unary_stream(self, path: str, *_: object, **__: object) -> Callable[..., _Stream]:
        def call(request: Any, metadata: _Metadata = ()) -> _Stream:
            return _Stream(self._run, self._every(self._methods[path], request, metadata))

        return call

    def _run(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            with migrated():
                return self._runner.run(work)
        except TorporError as error:
            raise Failed(Failure.of(error)) from error

    async def _one(self, method: Method, request: Any, metadata: _Metadata) -> Any:
        caller = await self._caller(method, metadata)
        work = partial(method.call, caller, request)
        if not method.need.changes:
            return await work()
        return await self._detached.run(self._auditing.one(*_act(method, caller, request), work))

    async def _every(
        self, method: Method, request: Any, metadata: _Metadata
    ) -> AsyncGenerator[Any, None]:
        caller = await self._caller(method, metadata)
        replies: AsyncGenerator[Any, None] = method.call(caller, request)
        if method.need.changes:
            replies = self._auditing.every(*_act(method, caller, request), replies)
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def _caller(self, method: Method, metadata: _Metadata) -> Caller:
        name = dict(metadata).get(ORG, "")
        org_id = (await self._store.org(name)).id if name else NO_ORG
        caller = Caller(org_id, name, actor(), Grant(frozenset(Right)))
        method.need.check(caller)
        return caller


class _Stream:
    """The replies of one call, as they come."""

    def __init__(
        self,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        replies: AsyncGenerator[Any, None],
    ) -> None:
        self._run = run
        self._replies = replies

    def __iter__(self) -> Iterator[Any]:
        while (reply := self._run(self._next())) is not None:
            yield reply

    def cancel(self) -> None:
        self._run(self._replies.aclose())

    async def _next(self) -> Any:
        return await anext(self._replies, None)


def _act(method: Method, caller: Caller, request: Any) -> tuple[Act, Any]:
    """What is written down, and what reads the states before and after it."""
    act = about(Act(caller.org, caller.name, method.name), request)
    return act, partial(method.snapshot, caller, request)


def _access(database: Database, store: Store, audit: Audit) -> AccessCalls:
    rules = TrustRules(database)
    return AccessCalls(
        store,
        Members(database),
        audit,
        rules,
        Exchange(rules, _issuers, audit),
        issuing=Issuing(database, None),
    )


def _issuers() -> Issuers:
    from torpor_router.access.oidc.issuers import Issuers

    return Issuers(time.monotonic)
