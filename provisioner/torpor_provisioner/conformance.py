"""What every provisioner must do, as checks that its own tests run.

Each check is an async function of a `Subject`; it fails with AssertionError and terminates what
it launched. With pytest:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_conformance(check, subject):
        await check(subject)

A subject brings its own cloud, real or played. Nothing is asked of it beyond the contract, so
clouds that answer late, or that refuse a call for a while with `NotReady`, pass as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ParamSpec, Protocol
from uuid import uuid4

from torpor_provisioner import deadline
from torpor_provisioner.contract import MachineState, Observed, Provisioner, SleepKind, Spec
from torpor_provisioner.errors import Gone, NotReady, ProvisionerError


class MakeSpec(Protocol):
    """A new satellite's spec at each call, able to hibernate or not."""

    def __call__(self, *, hibernate: bool) -> Spec: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`one` and `other` are of one deployment, as two nodes would have them.

    `unknown_ref` has the form of a ref and names nothing. `patience` is how long one transition
    may take, `poll` the pause between two looks, `late` how long an effect that must not come is
    waited for, in seconds.
    """

    one: Provisioner
    other: Provisioner
    spec: MakeSpec
    unknown_ref: str
    patience: float = 60.0
    poll: float = 0.02
    late: float = 0.5


P = ParamSpec("P")
Check = Callable[[Subject], Awaitable[None]]
AT_ONCE = 8  # calls
LOOKS = 100
GIVEN_UP_AT = (0, 1, 2, 3, 5, 8, 13, 21, 50)  # steps of the event loop after a call's beginning


async def the_same_token_gives_the_same_machine(subject: Subject) -> None:
    spec, token = subject.spec(hibernate=True), uuid4().hex
    ref = await subject.one.launch(spec, token)
    try:
        assert await subject.one.launch(spec, token) == ref
        assert await subject.other.launch(spec, token) == ref
        await _becomes(subject, ref, MachineState.RUNNING)
        assert await subject.one.launch(spec, token) == ref, "also once it runs"
    finally:
        await subject.one.terminate(ref)


async def launches_at_once_make_one_machine(subject: Subject) -> None:
    spec, token = subject.spec(hibernate=True), uuid4().hex
    nodes = (subject.one, subject.other) * (AT_ONCE // 2)
    refs = set(await asyncio.gather(*(node.launch(spec, token) for node in nodes)))
    try:
        assert len(refs) == 1
    finally:
        await asyncio.gather(*map(subject.one.terminate, refs))


async def another_token_gives_another_machine(subject: Subject) -> None:
    async with _launched(subject) as first, _launched(subject) as second:
        assert first != second


async def a_launched_machine_runs_at_an_address(subject: Subject) -> None:
    async with _launched(subject) as ref:
        seen = await _becomes(subject, ref, MachineState.RUNNING)
        assert seen.address is not None
        assert seen.sleep_kind is None


async def waking_what_runs_does_nothing(subject: Subject) -> None:
    async with _running(subject) as ref:
        await subject.one.wake(ref)
        assert (await _observe(subject, ref)).state is MachineState.RUNNING


async def a_sleep_keeps_the_address(subject: Subject) -> None:
    async with _running(subject) as ref:
        before = await _observe(subject, ref)
        for how in SleepKind:
            asleep = await _put_to_sleep(subject, ref, how)
            assert asleep.sleep_kind is not None, "it is known how a sleeping machine sleeps"
            await _wake(subject, ref)
            assert (await _observe(subject, ref)).address == before.address


async def a_stop_is_a_stop(subject: Subject) -> None:
    async with _running(subject) as ref:
        asleep = await _put_to_sleep(subject, ref, SleepKind.STOPPED)
        assert asleep.sleep_kind is SleepKind.STOPPED


async def what_cannot_hibernate_stops(subject: Subject) -> None:
    async with _running(subject, hibernate=False) as ref:
        asleep = await _put_to_sleep(subject, ref, SleepKind.HIBERNATED)
        assert asleep.sleep_kind is SleepKind.STOPPED


async def sleeping_twice_sleeps_once(subject: Subject) -> None:
    async with _running(subject) as ref:
        first = await _put_to_sleep(subject, ref, SleepKind.HIBERNATED)
        for how in SleepKind:
            await subject.other.sleep(ref, how)
        again = await _becomes(subject, ref, MachineState.ASLEEP)
        assert again.sleep_kind is first.sleep_kind, "how it sleeps is not changed in its sleep"


async def sleeps_at_once_sleep_once(subject: Subject) -> None:
    async with _running(subject) as ref:
        nodes = (subject.one, subject.other) * (AT_ONCE // 2)
        await asyncio.gather(
            *(_ready(subject, node.sleep, ref, SleepKind.STOPPED) for node in nodes)
        )
        await _becomes(subject, ref, MachineState.ASLEEP)


async def wakes_at_once_all_succeed(subject: Subject) -> None:
    async with _running(subject) as ref:
        for how in SleepKind:
            await _put_to_sleep(subject, ref, how)
            nodes = (subject.one, subject.other) * (AT_ONCE // 2)
            await asyncio.gather(*(_ready(subject, node.wake, ref) for node in nodes))
            await _becomes(subject, ref, MachineState.RUNNING)


async def a_wake_while_falling_asleep_is_refused_or_wins(subject: Subject) -> None:
    async with _running(subject) as ref:
        for how in SleepKind:
            await _ready(subject, subject.one.sleep, ref, how)
            await _wake(subject, ref)


async def a_cancelled_call_leaves_the_machine_usable(subject: Subject) -> None:
    async with _running(subject) as ref:
        await _put_to_sleep(subject, ref, SleepKind.STOPPED)
        call = asyncio.ensure_future(subject.one.wake(ref))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await _wake(subject, ref)


async def a_call_given_up_at_any_await_has_no_effect_later(subject: Subject) -> None:
    """The first look after it shows what it has done; from then on another node may act."""
    async with _running(subject) as ref:
        await _put_to_sleep(subject, ref, SleepKind.STOPPED)
        for step in GIVEN_UP_AT:
            await _given_up(subject.one.wake(ref), step)
            seen = await _observe(subject, ref)
            if seen.state is MachineState.ASLEEP:
                await asyncio.sleep(subject.late / len(GIVEN_UP_AT))
                again = await _observe(subject, ref)
                assert again.state is MachineState.ASLEEP, f"given up at await {step}, it woke late"
            else:
                await _wake(subject, ref)
                await _put_to_sleep(subject, ref, SleepKind.STOPPED)


async def a_call_whose_time_is_up_has_no_effect(subject: Subject) -> None:
    async with _running(subject) as ref:
        await _too_late(subject.one.sleep(ref, SleepKind.STOPPED))
        await _too_late(subject.one.terminate(ref))
        await asyncio.sleep(subject.late)
        assert (await _observe(subject, ref)).state is MachineState.RUNNING
        await _put_to_sleep(subject, ref, SleepKind.STOPPED)
        await _too_late(subject.one.wake(ref))
        await asyncio.sleep(subject.late)
        assert (await _observe(subject, ref)).state is MachineState.ASLEEP
    spec = subject.spec(hibernate=False)
    await _too_late(subject.one.launch(spec, uuid4().hex))
    await asyncio.sleep(subject.late)
    owners = [owner for owner, _ in (await subject.one.owned()).values()]
    assert spec.satellite_id not in owners


async def looks_at_a_moving_machine_are_cheap(subject: Subject) -> None:
    """Ten a second from each node, for as long as it takes to move."""
    async with _running(subject) as ref:
        await _ready(subject, subject.one.sleep, ref, SleepKind.STOPPED)
        refs = [ref, subject.unknown_ref]
        for _ in range(LOOKS // AT_ONCE):
            nodes = (subject.one, subject.other) * (AT_ONCE // 2)
            async with asyncio.timeout(subject.patience):
                seen = await asyncio.gather(*(node.observe(refs) for node in nodes))
            assert {tuple(sorted(one)) for one in seen} == {tuple(sorted(refs))}
        await _becomes(subject, ref, MachineState.ASLEEP)


async def nothing_is_known_of_an_unknown_machine(subject: Subject) -> None:
    ref = subject.unknown_ref
    seen = (await subject.one.observe([ref]))[ref]
    assert seen.state is MachineState.GONE
    assert seen.address is None
    await subject.one.terminate(ref)
    await _raises_gone(subject.one.wake(ref))
    await _raises_gone(subject.one.sleep(ref, SleepKind.STOPPED))


async def every_machine_asked_for_is_told(subject: Subject) -> None:
    assert dict(await subject.one.observe([])) == {}
    async with _running(subject) as ref:
        seen = await subject.one.observe([ref, subject.unknown_ref])
        assert {ref: one.state for ref, one in seen.items()} == {
            ref: MachineState.RUNNING,
            subject.unknown_ref: MachineState.GONE,
        }


async def terminating_twice_is_terminating_once(subject: Subject) -> None:
    async with _running(subject) as ref:
        await asyncio.gather(
            *(_ready(subject, node.terminate, ref) for node in (subject.one, subject.other))
        )
        await _becomes(subject, ref, MachineState.GONE)
        await subject.one.terminate(ref)
        await _raises_gone(subject.one.wake(ref))
        await _raises_gone(subject.one.sleep(ref, SleepKind.STOPPED))


async def a_sleeping_machine_can_be_terminated(subject: Subject) -> None:
    for how in SleepKind:
        async with _running(subject) as ref:
            await _put_to_sleep(subject, ref, how)
            await subject.one.terminate(ref)
            await _becomes(subject, ref, MachineState.GONE)


async def machines_are_owned_until_they_are_gone(subject: Subject) -> None:
    spec = subject.spec(hibernate=True)
    ref = await subject.one.launch(spec, uuid4().hex)
    try:
        await _becomes(subject, ref, MachineState.RUNNING)
        assert (await subject.other.owned())[ref] == (spec.satellite_id, spec.generation)
        await _put_to_sleep(subject, ref, SleepKind.STOPPED)
        assert ref in await subject.other.owned(), "also asleep"
    finally:
        await subject.one.terminate(ref)
    await _becomes(subject, ref, MachineState.GONE)
    assert ref not in await subject.other.owned()


async def another_node_carries_on(subject: Subject) -> None:
    async with _running(subject) as ref:
        await _put_to_sleep(subject, ref, SleepKind.HIBERNATED)
        await _ready(subject, subject.other.wake, ref)
        await _becomes(subject, ref, MachineState.RUNNING)


CHECKS: tuple[Check, ...] = (
    the_same_token_gives_the_same_machine,
    launches_at_once_make_one_machine,
    another_token_gives_another_machine,
    a_launched_machine_runs_at_an_address,
    waking_what_runs_does_nothing,
    a_sleep_keeps_the_address,
    a_stop_is_a_stop,
    what_cannot_hibernate_stops,
    sleeping_twice_sleeps_once,
    sleeps_at_once_sleep_once,
    wakes_at_once_all_succeed,
    a_wake_while_falling_asleep_is_refused_or_wins,
    a_cancelled_call_leaves_the_machine_usable,
    a_call_given_up_at_any_await_has_no_effect_later,
    a_call_whose_time_is_up_has_no_effect,
    looks_at_a_moving_machine_are_cheap,
    nothing_is_known_of_an_unknown_machine,
    every_machine_asked_for_is_told,
    terminating_twice_is_terminating_once,
    a_sleeping_machine_can_be_terminated,
    machines_are_owned_until_they_are_gone,
    another_node_carries_on,
)


@asynccontextmanager
async def _launched(subject: Subject, *, hibernate: bool = True) -> AsyncIterator[str]:
    ref = await subject.one.launch(subject.spec(hibernate=hibernate), uuid4().hex)
    try:
        yield ref
    finally:
        await subject.one.terminate(ref)


@asynccontextmanager
async def _running(subject: Subject, *, hibernate: bool = True) -> AsyncIterator[str]:
    async with _launched(subject, hibernate=hibernate) as ref:
        await _becomes(subject, ref, MachineState.RUNNING)
        yield ref


async def _put_to_sleep(subject: Subject, ref: str, how: SleepKind) -> Observed:
    await _ready(subject, subject.one.sleep, ref, how)
    return await _becomes(subject, ref, MachineState.ASLEEP)


async def _wake(subject: Subject, ref: str) -> None:
    await _ready(subject, subject.one.wake, ref)
    await _becomes(subject, ref, MachineState.RUNNING)


async def _ready(
    subject: Subject, call: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Make the call, again for as long as the machine is not ready for it."""
    async with asyncio.timeout(subject.patience):
        while True:
            try:
                return await call(*args, **kwargs)
            except NotReady:
                await asyncio.sleep(subject.poll)


async def _becomes(subject: Subject, ref: str, state: MachineState) -> Observed:
    seen = await _observe(subject, ref)
    try:
        async with asyncio.timeout(subject.patience):
            while seen.state is not state:
                await asyncio.sleep(subject.poll)
                seen = await _observe(subject, ref)
    except TimeoutError:
        raise AssertionError(f"{ref} should have become {state}, but is {seen}") from None
    return seen


async def _given_up(call: Coroutine[None, None, None], steps: int) -> None:
    task = asyncio.create_task(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _too_late(call: Awaitable[object]) -> None:
    with deadline.given(lambda: 0.0):
        try:
            await call
        except ProvisionerError:
            return
    raise AssertionError("the call's time was up, and it did not say so")


async def _observe(subject: Subject, ref: str) -> Observed:
    return (await subject.one.observe([ref]))[ref]


async def _raises_gone(call: Awaitable[None]) -> None:
    try:
        await call
    except Gone:
        return
    raise AssertionError("the machine is gone, and the call did not say so")
