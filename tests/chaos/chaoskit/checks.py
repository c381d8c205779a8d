"""What a run must not have done. Pure functions of the records; each gives sentences, none if well.

docs/chaos.md says what each one means and what it leaves out, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from chaoskit.history import FOUND, FOUND_ASLEEP, FOUND_RUNNING, PERHAPS
from chaoskit.records import Answer, Attempt, Call, Index, Name

CLAIM_LOST = 4.5  # seconds of silence after which others may believe that a node is dead: claims
# live 7 s after a heartbeat, which was up to 2.5 s ago when the silence began
LEASE_LOST = 45.0  # the same for its leases: they live 60 s after a heartbeat, which may be old
CONNECTED = 10.0  # of a node's silence; a gRPC client gives up a connection after 20 s of it
UNCONNECTED = "failed to connect"  # in the client's own words
EDGE = 1.5  # seconds by which a fault reaches beyond its moment
UP = ("asleep", "stopping")  # states that say of a start call that it had no effect
DOWN = ("running", "pending")  # the same of a sleep call
_MOVES = {
    # who takes a sleep over after a failover and finds it running tells of a wake that was lost
    **dict.fromkeys(("woke", "wake_failed", FOUND_RUNNING, "sleep_abandoned"), "W"),
    **dict.fromkeys(("slept", FOUND_ASLEEP), "S"),
}
UNDONE = (Answer.REFUSED, Answer.GIVEN_UP)

Check = Callable[[Index], Iterator[str]]


def cut_streams(index: Index) -> Iterator[str]:
    """A stream was open, by a node that was allowed to have it, when its machine went to sleep."""
    for call in index.records.calls:
        if call.late or index.lost_claim(call):
            continue
        for name in call.cut:
            attempt = index.attempts.get(name)
            if attempt is not None and attempt.covers(call.at) and _counts(index, attempt, call.at):
                yield f"{call.ref}: stream {name} by node {attempt.node} was cut at {call.at:.2f}"


def _counts(index: Index, attempt: Attempt, moment: float) -> bool:
    """Whether the node that carried it lived, and could still hold a lease."""
    life = index.life_at(attempt.node, attempt.began)
    if life is None or (life.ended is not None and life.ended < moment + EDGE):
        return False
    return not life.paused(attempt.began, moment, LEASE_LOST)


def unwanted_starts(index: Index) -> Iterator[str]:
    """A machine was started though no request had come since it was told to sleep."""
    for ref, calls in index.calls.items():
        told = 0.0  # when a node first told it to sleep, whatever came of that
        for call in calls:
            if call.name is Name.SLEEP:
                told = told or call.made
                continue
            if not call.effect:
                continue
            since, told = told, 0.0
            if call.late or index.astray(ref, call.made, call.at):
                continue
            if not any(
                request.began < call.at and index.known_until(request) > since
                for request in index.requests[ref]
            ):
                yield f"{ref}: started at {call.at:.2f}, which nobody had asked for"


def repeated_calls(index: Index) -> Iterator[str]:
    """A second start (or sleep) call, though the caller could know that the first had worked."""
    for ref, calls in index.calls.items():
        for call in calls:
            if call.effect or call.answer in UNDONE or call.late:
                continue
            again = _overtaker(calls, call) or call
            look = index.last_look(again)
            had_no_effect = UP if call.name is Name.WAKE else DOWN
            if index.astray(ref, again.made, again.at):
                continue
            if look is None or look.state not in had_no_effect:
                seen = "nothing" if look is None else look.state
                yield f"{ref}: {call.name} again at {again.at:.2f} by {again.pid}, which saw {seen}"


def _overtaker(calls: Sequence[Call], call: Call) -> Call | None:
    """The call that was made after this one and did its work before it: the cloud may be long
    about one, and then it is the later one that was made again."""
    return next(
        (
            other
            for other in calls
            if other.name is call.name
            and other.effect
            and call.made < other.made
            and other.at < call.at
        ),
        None,
    )


def two_callers(index: Index) -> Iterator[str]:
    """Two nodes made the same call, and the first of them had not lost its claim."""
    for ref, calls in index.calls.items():
        for before, call in pairwise(each for each in calls if not _came_to_nothing(each)):
            same = call.name is before.name and call.pid != before.pid
            if same and not call.late and not _lost_its_claim(index, before, call):
                yield (
                    f"{ref}: {call.name} at {call.at:.2f} by {call.pid}, "
                    f"and by {before.pid} at {before.at:.2f}, which lived"
                )


def _came_to_nothing(call: Call) -> bool:
    """Whoever is refused a sleep lets the machine run on if it is wanted by now."""
    refused = call.name is Name.SLEEP and call.answer is Answer.REFUSED
    return refused or call.answer is Answer.GIVEN_UP


def _lost_its_claim(index: Index, before: Call, after: Call) -> bool:
    life = index.lives[before.pid]
    if life.ended is not None and life.ended < after.at:
        return True
    if life.paused(before.at - EDGE, after.at, CLAIM_LOST):
        return True
    if life.cut_off(before.at - CLAIM_LOST, after.at, CLAIM_LOST):
        return True
    if index.failed_over(before.at - 2 * CLAIM_LOST, after.at) or index.astray(
        after.ref, before.made, after.at
    ):
        return True
    return index.database_away(before.at - 2 * CLAIM_LOST, after.at, CLAIM_LOST / 2)


def wrong_machines(index: Index) -> Iterator[str]:
    """A call reached the machine of another satellite."""
    for ref, name in index.records.served:
        wanted = index.refs.get(name, ref)
        if wanted != ref:
            yield f"{wanted}: {name} was served by {ref}"


def failed_requests(index: Index) -> Iterator[str]:
    """A request whose client did everything right, and which came to nothing."""
    for request in index.records.requests:
        if not request.done or request.took > request.budget:
            last = request.attempts[-1] if request.attempts else None
            yield f"{request.ref}: {request.id} failed after {request.took:.1f} s: {last}"


def refused_attempts(index: Index) -> Iterator[str]:
    """A node that was alive and well, from the attempt's first moment to its last, failed it."""
    for request in index.records.requests:
        for attempt in request.attempts:
            if attempt.status in (None, "OK") or attempt.abandoned or attempt.ended is None:
                continue
            if attempt.turned_away or index.astray(request.ref, attempt.began, attempt.ended):
                continue
            if not _hurt(index, attempt, attempt.ended):
                yield (
                    f"{request.ref}: {attempt.call} ({request.shape}) on node {attempt.node} from "
                    f"{attempt.began:.2f} to {attempt.ended:.2f}: {attempt.status} {attempt.detail}"
                )


def _hurt(index: Index, attempt: Attempt, ended: float) -> bool:
    """Whether the node died, or had just been started, or was away for longer than a lease; or
    whether the clients' own process stood still."""
    if any(span.meets(attempt.began - EDGE, ended) for span in index.records.stalls):
        return True
    lives = index.lives_within(attempt.node, attempt.began - EDGE, ended + EDGE)
    if len(lives) != 1:
        return True
    [life] = lives
    if life.served is None or life.served > attempt.began - EDGE:
        return True
    if life.ended is not None and life.ended < ended + EDGE:
        return True
    if UNCONNECTED in attempt.detail and life.paused(attempt.began - EDGE, ended, CONNECTED):
        return True
    return life.paused(attempt.began - EDGE, ended, LEASE_LOST)


def silent_nodes(index: Index) -> Iterator[str]:
    """A client heard nothing for its whole patience from a node that was alive and well."""
    for request in index.records.requests:
        for attempt in request.attempts:
            if attempt.status == "ABANDONED" and attempt.ended is not None:
                hurt = _hurt(index, attempt, attempt.ended)
                lives = index.lives_within(attempt.node, attempt.began, attempt.ended)
                paused = any(
                    each.paused(attempt.began, attempt.ended)
                    or each.cut_off(attempt.began, attempt.ended)
                    for each in lives
                )
                astray = index.astray(request.ref, attempt.began, attempt.ended)
                if (
                    not hurt
                    and not paused
                    and not astray
                    and not index.database_away(attempt.began, attempt.ended)
                ):
                    yield (
                        f"{request.ref}: {attempt.call} ({request.shape}) had no answer of node "
                        f"{attempt.node} from {attempt.began:.2f} to {attempt.ended:.2f}"
                    )


def nodes_that_ended(index: Index) -> Iterator[str]:
    """A node that served ended without having been told to."""
    for life in index.records.lives:
        if life.served is not None and life.ended is not None and not life.killed:
            yield f"node {life.node} (pid {life.pid}) ended by itself at {life.ended:.2f}"


def stuck(index: Index) -> Iterator[str]:
    """A satellite that could not be reached, or was still claimed, when all faults were over."""
    for ref in index.records.unreached:
        yield f"{ref}: not to be reached when all faults were over"
    for ref in index.records.claimed:
        yield f"{ref}: in a passing state when all was over"


def other_history(index: Index) -> Iterator[str]:
    """The transitions log tells another story than the cloud's own."""
    for ref, events in index.records.history.items():
        breaks = index.breaks(ref)
        moves = [
            (call.at, "W" if call.name is Name.WAKE else "S")
            for call in index.calls[ref]
            if call.effect
        ]
        told = [FOUND_ASLEEP if breaks and event == FOUND[0] else event for event in events]
        if _stories(told).isdisjoint(_moved(moves, breaks)):
            logged = "".join(_MOVES.get(event, "") for event in events)
            moved = "".join(move for _, move in moves)
            yield f"{ref}: the log says {_tail(logged)}, the cloud {_tail(moved)}"
        for event in told:
            if event in FOUND:
                yield f"{ref}: {event}, though nobody but the nodes moves machines"


def _stories(events: Sequence[str]) -> set[str]:
    """The moves that the log may tell of."""
    stories = {""}
    for event in events:
        move = _MOVES.get(event, "")
        perhaps = {PERHAPS["wake"]: "W", PERHAPS["sleep"]: "S"}.get(event)
        stories = {_once(story + move) for story in stories}
        if perhaps is not None:
            stories |= {_once(story + perhaps) for story in stories}
    return stories


def _moved(moves: Sequence[tuple[float, str]], breaks: Sequence[float]) -> set[str]:
    """What the machine did; of an end that nobody asked for the log may tell, or of its mend."""
    stories = {""}
    for _, move in sorted([*moves, *((at, "") for at in breaks)]):
        stories = {_once(story + move) for story in stories} | (
            {_once(story + "S") for story in stories} if not move else set()
        )
    return stories


def _once(moves: str) -> str:
    """A machine that was started is not started again before it was stopped: what a failover has
    lost may have been told once more."""
    return "".join(move for before, move in pairwise(" " + moves) if move != before)


def other_state(index: Index) -> Iterator[str]:
    """What the database believes of a machine at rest is not so, when all was over."""
    for ref, (believed, true) in index.records.ends.items():
        if believed in ("failed", "terminated"):
            yield f"{ref}: {believed} when all was over; the machine is {true}"
        if (believed == "asleep" and true not in UP) or (
            believed == "running" and true not in DOWN
        ):
            yield f"{ref}: believed to be {believed} when all was over, and is {true}"


def _tail(told: str) -> str:
    return f"{len(told)} moves ending in ...{told[-12:]}"


def complaints(index: Index) -> Iterator[str]:
    """A traceback in a node's log."""
    yield from index.records.complaints


CHECKS: dict[str, Check] = {
    "streams cut by sleep": cut_streams,
    "starts that nobody had asked for": unwanted_starts,
    "calls repeated without need": repeated_calls,
    "calls by two nodes that lived": two_callers,
    "calls served by another satellite's machine": wrong_machines,
    "requests failed within their budget": failed_requests,
    "attempts failed by a living node": refused_attempts,
    "attempts left without an answer by a living node": silent_nodes,
    "nodes that ended by themselves": nodes_that_ended,
    "satellites stuck at the end": stuck,
    "satellites whose log differs from the cloud's": other_history,
    "satellites that are not as they are believed to be": other_state,
    "tracebacks in the nodes' logs": complaints,
}


def violations(index: Index) -> dict[str, list[str]]:
    return {name: list(check(index)) for name, check in CHECKS.items()}
