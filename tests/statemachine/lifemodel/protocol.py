"""The protocol of several nodes around one satellite, as steps between immutable states.

A statement takes effect in one step and its answer is heard in a later one: in between, anything
may happen. Time is not counted; what it guarantees is a condition on steps instead. The database
gives a node up (`life`) only after the node has ceased to believe in itself (`belief`), and lets a
deadline pass only after the work's own time is up. A call to the cloud is begun in one step and
lands in a later one; it is assumed to land, if ever, before the database gives its node up.

What decides is the code's own where it is pure (`policy.next_step`, `policy.drift`,
`lifecycle.target`) and `guards` where it is SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

from lifemodel import guards
from lifemodel.explorer import Step
from lifemodel.guards import Row, Seen

from torpor_provisioner.contract import Address, Arch, MachineState, Observed
from torpor_statemachine.lifecycle import Event, target
from torpor_statemachine.model import Satellite, SleepMode, State
from torpor_statemachine.policy import ClaimWake, Fail, RequestWake, drift, next_step

NOBODY = UUID(int=0)
FAILURE = "TPR-2202 no"
PATIENCE = 3600.0

# Ways to spoil the protocol: each must lead to a violation
NO_EPOCH = "a completion names no epoch"
NO_RECHECK = "a sleep is claimed without looking for leases under the lock"
NO_BELIEF = "a call is made without belief in the claim"
NO_LOOK = "who takes over repeats the call without a look"
NO_SECOND_LOOK = "a claim is taken over by a look that may be stale"
ONE_SNAPSHOT = "a renewal tells what was true before it waited"
NEW_TERM = "a new term is believed in before anything was told of it"
LAPSE = "belief that lapsed comes back by a heartbeat alone"
NO_DEADLINE = "a call is made after the claim's deadline"
STALE_TERM = "a lease of the term before is believed"
OWN_CLAIM = "a claim is adopted while the answer to it may yet come"
LATE_CALLS = "a call lands after its node was given up"  # no mutation: what is assumed not to be


class Work(NamedTuple):
    """A claim's, as its node carries it out. `at`: its next step; `won`: not yet heard of."""

    state: State
    epoch: int
    at: str
    won: bool = True
    covered: bool = True  # belief has not lapsed since, or the claim was confirmed after
    old: bool = False  # begun before the heartbeat that is on its way
    in_time: bool = True
    refused: bool = False


class Node(NamedTuple):
    up: bool = True
    belief: int = 2  # 2: in its claims and leases, 1: in its leases, 0: in nothing
    life: int = 2  # the same, as the database has it
    leased: bool = False  # in the database
    book: int = 0  # the epoch of the lease in its book; 0: none
    stream: int = 0  # 1: open; 2: open, and its lease was rightly lost
    held: bool = False  # a request waits
    began: tuple[int, bool] = (0, False)  # what the row was when it began to
    door: tuple[object, ...] = ()  # an answer on its way to the waiter
    works: tuple[Work, ...] = ()
    beat: tuple[object, ...] = ()  # a heartbeat on its way
    unknown: int = 0  # the epoch of a claim in its name that it knows nothing of
    dropping: bool = False
    note: int = 0  # the epoch of a claim that it has seen undone, or of a satellite seen idle


class Left(NamedTuple):
    """How much may yet go wrong, and be asked for."""

    crashes: int = 0
    doubts: int = 0
    losses: int = 0
    delays: int = 0
    requests: int = 0
    epoch: int = 4


class World(NamedTuple):
    row: Row
    machine: bool  # whether it runs
    nodes: tuple[Node, ...]
    left: Left

    def __repr__(self) -> str:
        return f"{self.row}, machine {'up' if self.machine else 'down'}, {self.nodes}"


def first(nodes: int, left: Left) -> World:
    return World(Row(State.ASLEEP, 1), False, (Node(),) * nodes, left)


def key(world: World) -> object:
    """The nodes' names do not matter."""
    by = world.row.claimed_by
    nodes = sorted((*node, number == by) for number, node in enumerate(world.nodes))
    return world.row._replace(claimed_by=None), world.machine, tuple(nodes), world.left


def good(world: World) -> bool:
    """The satellite rests and nobody waits; or the exploration ends here."""
    if world.row.epoch >= world.left.epoch:
        return True
    return world.row.claimed_by is None and not any(node.held for node in world.nodes)


@dataclass(frozen=True)
class Protocol:
    spoiled: frozenset[str] = frozenset()

    def steps(self, world: World) -> Iterator[Step[World]]:
        for number, node in enumerate(world.nodes):
            moves = _Moves(self.spoiled, world, number, node)
            for what, after in moves.all():
                told = f"node {number} {what}"
                if isinstance(after, str):
                    yield Step(told, None, after)
                elif broken := _broken(after):
                    yield Step(told, None, broken)
                else:
                    yield Step(told, after)
        if (late := _grow_late(world, self.spoiled)) is not None:
            yield Step("the claim's deadline passes", late)


def _broken(world: World) -> str:
    """What must never be."""
    row = world.row
    if not world.machine:
        for node in world.nodes:
            if node.stream == 1:
                return "the machine sleeps under an open stream"
            if node.up and node.book and node.belief >= 1:
                return "a request that is admitted on a lease meets a sleeping machine"
    if row.claimed_by is None and not _calls(world) and _drifted(row.state, world.machine):
        return f"it is {row.state} in the database, and the machine is not"
    return ""


def _calls(world: World) -> bool:
    return any(work.at == "land" for node in world.nodes for work in node.works)


def _grow_late(world: World, spoiled: frozenset[str]) -> World | None:
    row = world.row
    if row.claimed_by is None or row.late:
        return None
    for work in world.nodes[row.claimed_by].works:
        if work.epoch == row.epoch and (
            work.in_time or (work.at == "land" and LATE_CALLS not in spoiled)
        ):
            return None
    return world._replace(row=row._replace(late=True))


Move = tuple[str, World | str]


class _Moves:
    """What one node can do next, and what can befall it."""

    def __init__(self, spoiled: frozenset[str], world: World, number: int, node: Node) -> None:
        self.spoiled = spoiled
        self.world = world
        self.row = world.row
        self.left = world.left
        self.number = number
        self.node = node

    def all(self) -> Iterator[Move]:
        if self.node.life and (aged := self._age()) is not None:
            yield "is given up by the database", aged
        if self.node.up:
            yield from self._mishaps()
            yield from self._requests()
            yield from self._streams()
            yield from self._beats()
            yield from self._duties()
            for work in self.node.works:
                yield from self._hears(work) if work.won else self._works(work)

    # --- Worlds after

    def _with(self, node: Node, row: Row | None = None, machine: bool | None = None) -> World:
        nodes = list(self.world.nodes)
        nodes[self.number] = node
        return self.world._replace(
            nodes=tuple(nodes),
            row=self.row if row is None else row,
            machine=self.world.machine if machine is None else machine,
        )

    def _changed(self, work: Work, **how: object) -> Node:
        after = work._replace(**how)
        works = tuple(after if one is work else one for one in self.node.works)
        return self.node._replace(works=works)

    def _without(self, work: Work) -> Node:
        return self.node._replace(works=tuple(one for one in self.node.works if one is not work))

    def _spent(self, world: World, **what: int) -> World:
        left = {name: getattr(self.left, name) - spent for name, spent in what.items()}
        return world._replace(left=self.left._replace(**left))

    def _claimed(self, event: Event, at: str, node: Node | None = None) -> Iterator[Move]:
        """The claim takes effect; its answer is yet to be heard, or is lost."""
        node = node or self.node
        epoch = self.row.epoch + 1
        state = self.row.state if event is Event.TOOK_OVER else target(event, self.row.state)
        row = self.row._replace(state=state, epoch=epoch, claimed_by=self.number, late=False)
        if event is Event.WAKE:
            row = row._replace(wake_requested=False, failed=False)
        elif event is Event.SLEEP:
            row = row._replace(wake_requested=False, failed=False, sleep_called=False)
        won = node._replace(works=(*node.works, Work(state, epoch, at)))
        yield f"claims: {event}", self._unleased(self._with(won, row))
        if self.left.losses:
            lost = self._unleased(self._with(node, row))
            yield f"claims: {event}, and the answer is lost", self._spent(lost, losses=1)

    def _unleased(self, world: World) -> World:
        """Each change of the state ends the leases on the satellite."""
        return world._replace(nodes=tuple(node._replace(leased=False) for node in world.nodes))

    # --- What befalls it

    def _age(self) -> World | None:
        node = self.node
        if node.up and node.belief >= node.life:
            return None
        lands = any(work.at == "land" for work in node.works)
        if node.up and node.life == 2 and lands and LATE_CALLS not in self.spoiled:
            return None
        life = node.life - 1
        beat = node.beat
        if beat and beat[0] == "told":
            beat = (*beat[:3], min(int(str(beat[3])), life), *beat[4:])
        node = node._replace(life=life, beat=beat)
        if life == 0:  # its term is over, and its leases fall
            node = node._replace(leased=False, stream=2 if node.stream else 0)
        return self._with(node)

    def _mishaps(self) -> Iterator[Move]:
        node = self.node
        if self.left.doubts and node.belief:
            doubting = self._with(node._replace(belief=node.belief - 1))
            yield "stands still for long", self._spent(doubting, doubts=1)
        others = sum(one.up for one in self.world.nodes) > 1
        if self.left.crashes and others:
            dead = Node(up=False, belief=0, life=node.life, leased=node.leased)
            crashed = self._spent(self._with(dead), crashes=1)
            yield "crashes", crashed
            for work in node.works:
                if work.at == "land":
                    landed = crashed._replace(machine=work.state is State.WAKING)
                    yield "crashes, and its call lands", landed
        for work in node.works:
            if self.left.delays and work.in_time:
                late = self._with(self._changed(work, in_time=False))
                yield "takes too long", self._spent(late, delays=1)

    # --- Requests and the streams that they become

    def _requests(self) -> Iterator[Move]:
        node = self.node
        if self.left.requests and not node.held and not node.stream:
            asked = node._replace(held=True, began=(self.row.epoch, self.row.failed))
            yield "holds a request", self._spent(self._with(asked), requests=1)
        if node.door:
            yield from self._answered()
        elif (node.held or (node.stream and not node.book)) and not node.dropping:
            yield from self._takes()

    def _takes(self) -> Iterator[Move]:
        row = self.row
        if guards.gives_lease(row, term_lives=self.node.life >= 1):
            leased = self.node._replace(leased=True)
            yield "takes a lease", self._with(leased._replace(door=("leased", row.epoch)))
            if self.left.losses:
                lost = self._with(leased)
                yield "takes a lease, and the answer is lost", self._spent(lost, losses=1)
        elif self.node.held and self._next_step(row.state, row.epoch) is not None:
            saw = ("saw", row.state, row.epoch)
            yield "looks at the row", self._with(self.node._replace(door=saw))

    def _next_step(self, state: State, epoch: int) -> object | None:
        """None: it waits."""
        row = self.row
        epoch_began, failed_began = self.node.began
        return _decided(state, epoch, row.wake_requested, row.failed, epoch_began, failed_began)

    def _answered(self) -> Iterator[Move]:
        kind, *told = self.node.door
        node = self.node._replace(door=())
        if kind == "leased":
            (epoch,) = told
            admitted = node.held and node.belief >= 1
            stream = 1 if admitted else node.stream
            beat = (*node.beat[:-1], 0) if node.beat[1:] else node.beat  # it asked before this
            node = node._replace(book=epoch, held=False, stream=stream, beat=beat)
            yield "has its lease", self._with(node)
            return
        state, epoch = told
        step = self._next_step(state, epoch)
        seen = Seen(state, epoch)
        lives = node.life == 2
        match step:
            case Fail():
                yield "fails its request", self._with(node._replace(held=False))
            case ClaimWake() if self._may_claim() and guards.claims(
                Event.WAKE, self.row, seen, lives=lives, leased=False
            ):
                yield from self._claimed(Event.WAKE, "call", node)
            case RequestWake() if guards.requests_wake(self.row, epoch):
                yield "asks for a wake", self._with(node, self.row._replace(wake_requested=True))
            case _:
                yield "comes too late with what it saw", self._with(node)

    def _may_claim(self) -> bool:
        return self.row.epoch < self.left.epoch

    def _streams(self) -> Iterator[Move]:
        node = self.node
        if node.stream or node.book:
            ended = node._replace(stream=0, book=0, dropping=node.dropping or node.book > 0)
            yield "has no stream any more", self._with(ended)
        if node.dropping:
            dropped = node._replace(dropping=False)
            yield "gives its lease up", self._with(dropped._replace(leased=False))
            if self.left.losses:
                yield "cannot give its lease up", self._spent(self._with(dropped), losses=1)
        if node.book and self.row.epoch > node.book:
            yield "hears of a change", self._with(node._replace(book=0))

    # --- Heartbeats

    def _beats(self) -> Iterator[Move]:
        node = self.node
        if not node.beat:
            if self._beat_matters():
                works = tuple(one if one.won else one._replace(old=True) for one in node.works)
                asked = node._replace(beat=("asked", node.book), works=works)
                yield "sends a heartbeat", self._with(asked)
        elif node.beat[0] == "asked":
            yield from self._renews()
        elif node.beat[0] == "read":
            yield "renews", self._with(node._replace(beat=("told", *node.beat[1:]), life=2))
        elif node.beat[0] == "over":
            yield "begins a new term", self._with(self._renamed())
        else:
            yield "hears of its heartbeat", self._with(self._confirmed())

    def _beat_matters(self) -> bool:
        node = self.node
        mine = self.row.epoch if self.row.claimed_by == self.number else 0
        known = {work.epoch for work in node.works}
        return (
            node.belief < 2
            or node.life < 2
            or not all(work.covered for work in node.works)
            or known != ({mine} if mine else set())
            or node.leased != bool(node.book)
        )

    def _renews(self) -> Iterator[Move]:
        node = self.node
        if not guards.renews(same_term=node.life >= 1, leases_live=node.life >= 1):
            yield "finds its term over", self._with(node._replace(beat=("over",)))
            return
        mine = self.row.epoch if self.row.claimed_by == self.number else 0
        told = (mine, node.leased, 2, node.beat[1])
        if ONE_SNAPSHOT in self.spoiled:
            yield "reads what it has", self._with(node._replace(beat=("read", *told)))
        else:
            yield "renews", self._with(node._replace(beat=("told", *told), life=2))

    def _renamed(self) -> Node:
        node = self.node
        stale = STALE_TERM not in self.spoiled and node.door[:1] == ("leased",)
        node = node._replace(life=2, beat=(), book=0, unknown=0, door=() if stale else node.door)
        if NEW_TERM in self.spoiled:
            return node._replace(belief=2)
        return node._replace(works=tuple(work for work in node.works if work.won))

    def _confirmed(self) -> Node:
        node = self.node
        _, mine, leased, worth, book_then = node.beat
        lapsed = node.belief < 2 and LAPSE not in self.spoiled
        works = []
        for work in node.works:
            one = work._replace(covered=False) if lapsed else work
            if work.won:
                works.append(one)
            elif work.epoch == mine:
                works.append(one._replace(covered=True, old=False))
            elif not work.old:
                works.append(one)
        book = 0 if node.book and node.book == book_then and not leased else node.book
        takes = node.door[:1] == ("leased",)
        known = [work for work in works if not work.won or OWN_CLAIM not in self.spoiled]
        return node._replace(
            works=tuple(works),
            book=book,
            dropping=node.dropping or bool(leased and not (book or takes or node.stream)),
            belief=max(node.belief, int(str(worth))),
            unknown=0 if known else int(str(mine)),
            beat=(),
        )

    # --- Duties

    def _duties(self) -> Iterator[Move]:
        row, node = self.row, self.node
        if not self._may_claim():
            return
        lives = node.life == 2
        seen = Seen(row.state, row.epoch, row.claimed_by)
        if row.claimed_by is None:
            if row.state is State.RUNNING:
                yield from self._reaps(seen, lives)
            if row.wake_requested and guards.claims(
                Event.WAKE, row, seen, lives=lives, leased=False
            ):
                yield from self._claimed(Event.WAKE, "call")
            return
        if row.claimed_by == self.number:
            adopts = node.unknown == row.epoch and (OWN_CLAIM in self.spoiled or not node.works)
            if not (row.late or adopts):
                return
        lives = self.world.nodes[row.claimed_by].life == 2
        accepted = guards.takes_over(row, seen, self.number, claimant_lives=lives)
        if NO_SECOND_LOOK in self.spoiled:
            if accepted and node.note != row.epoch:
                yield "sees a claim undone", self._with(node._replace(note=row.epoch))
            accepted = node.note == row.epoch
        if accepted:
            ready = node._replace(unknown=0, note=0)
            yield from self._claimed(Event.TOOK_OVER, self._taken_up(), ready)

    def _taken_up(self) -> str:
        if self.row.state is State.SLEEPING and not self.row.sleep_called:
            return "commit"
        return "call" if NO_LOOK in self.spoiled else "look"

    def _reaps(self, seen: Seen, lives: bool) -> Iterator[Move]:
        leased = any(node.leased for node in self.world.nodes)
        if NO_RECHECK in self.spoiled:
            if not leased and self.node.note != self.row.epoch:
                idle = self.node._replace(note=self.row.epoch)
                yield "sees that nobody has a lease", self._with(idle)
            leased = self.node.note != self.row.epoch
        if guards.claims(Event.SLEEP, self.row, seen, lives=lives, leased=leased):
            yield from self._claimed(Event.SLEEP, "commit", self.node._replace(note=0))

    # --- Work

    def _hears(self, work: Work) -> Iterator[Move]:
        """Of a claim that it has won: any older work is given up."""
        newer = any(not one.won and one.epoch > work.epoch for one in self.node.works)
        if newer:
            yield "hears late of its claim", self._with(self._without(work))
            return
        kept = tuple(
            one._replace(won=False) if one is work else one
            for one in self.node.works
            if one is work or one.won
        )
        yield "hears of its claim", self._with(self.node._replace(works=kept))

    def _works(self, work: Work) -> Iterator[Move]:
        waking = work.state is State.WAKING
        match work.at:
            case "commit":
                yield from self._commits(work)
            case "call":
                yield from self._calls(work)
                if work.refused or not work.in_time:
                    event = Event.WAKE_REFUSED if waking else Event.SLEEP_FAILED
                    yield from self._settles(work, event)
            case "land":
                landed = self._changed(work, at="look")
                yield "has its call land", self._with(landed, machine=waking)
                if self.left.losses:
                    refused = self._with(self._changed(work, at="look", refused=True))
                    yield "is refused by the cloud", self._spent(refused, losses=1)
            case "look":
                there = self.world.machine is waking
                seen = self._changed(work, at="done" if there else "call")
                yield f"sees the machine {'up' if self.world.machine else 'down'}", self._with(seen)
            case _:
                yield from self._settles(work, Event.WOKE if waking else Event.SLEPT)
                if waking and not work.in_time:
                    yield from self._settles(work, Event.WAKE_FAILED)

    def _commits(self, work: Work) -> Iterator[Move]:
        if guards.commits_to_sleep(self.row, work.epoch):
            row = self.row._replace(sleep_called=True)
            yield "commits to the sleep", self._with(self._changed(work, at="call"), row)
            if self.left.losses:
                lost = self._spent(self._with(self.node, row), losses=1)
                yield "commits to the sleep, and the answer is lost", lost
        else:
            yield from self._settles(work, Event.SLEEP_ABANDONED)

    def _calls(self, work: Work) -> Iterator[Move]:
        believes = self.node.belief == 2 and work.covered
        if not believes and NO_BELIEF not in self.spoiled:
            return
        if not work.in_time and NO_DEADLINE not in self.spoiled:
            return
        what = f"calls the cloud to {'wake' if work.state is State.WAKING else 'sleep'}"
        if self.row.epoch != work.epoch or self.row.claimed_by != self.number:
            yield what, "a node that lost its claim makes a call"
        elif self.world.machine is (work.state is State.WAKING):
            yield what, "a second call is made though the first had its effect"
        else:
            yield what, self._with(self._changed(work, at="land"))

    def _settles(self, work: Work, event: Event) -> Iterator[Move]:
        row = self.row
        seen = Seen(work.state, row.epoch if NO_EPOCH in self.spoiled else work.epoch)
        without = self._without(work)
        if not guards.completes(event, row, seen, self.number):
            yield f"cannot write {event}", self._with(without)
            return
        if NO_EPOCH not in self.spoiled and row.epoch != work.epoch:
            yield f"writes {event}", "a node that lost its claim changes the row"
            return
        after = row._replace(state=target(event, work.state), claimed_by=None, late=False)
        if event is Event.WAKE_FAILED:
            if not self._may_claim():
                return
            after = after._replace(
                epoch=row.epoch + 1,
                claimed_by=self.number,
                sleep_called=True,
                wake_requested=False,
                failed=True,
            )
            goes_on = Work(after.state, after.epoch, "call")
            without = without._replace(works=(*without.works, goes_on))
        elif event is Event.SLEPT:
            after = after._replace(sleep_called=False)
        elif event is Event.WAKE_REFUSED:
            after = after._replace(failed=True)
        else:
            failed = event is Event.SLEEP_FAILED
            after = after._replace(sleep_called=False, wake_requested=False, failed=failed)
        yield f"writes {event}", self._unleased(self._with(without, after))


# --- The code's own decisions

_SATELLITE = Satellite(
    id=NOBODY,
    org_id=NOBODY,
    org="acme",
    name="one",
    provisioner="cloud",
    arch=Arch.X86_64,
    size="",
    sleep_mode=SleepMode.AUTO,
    sleep_after=timedelta(minutes=30),
    state=State.RUNNING,
    state_since=datetime.now(UTC),
    created_at=datetime.now(UTC),
    generation=1,
    epoch=1,
)


@cache
def _decided(
    state: State, epoch: int, wanted: bool, failed: bool, epoch_began: int, failed_began: bool
) -> object | None:
    satellite = replace(
        _SATELLITE,
        state=state,
        epoch=epoch,
        wake_requested=wanted,
        failure=FAILURE if failed else None,
    )
    began = epoch_began, FAILURE if failed_began else None
    step = next_step(satellite, began, PATIENCE)
    return step if isinstance(step, ClaimWake | RequestWake | Fail) else None


@cache
def _drifted(state: State, machine: bool) -> bool:
    seen = MachineState.RUNNING if machine else MachineState.ASLEEP
    satellite = replace(_SATELLITE, state=state)
    return drift(satellite, Observed(seen, Address("cloud", 1))) is not None
