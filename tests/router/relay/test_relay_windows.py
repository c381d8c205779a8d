"""Flow control where the relay itself sends: the client's window is never overrun."""

from __future__ import annotations

from doorkit.core import REQUEST, frames, pair_up, to_worker
from hypothesis import given
from hypothesis import strategies as st
from relayfuzz.bench import Bench

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import Kind
from torpor_router.relay.streams import NODE


class Windows:
    """A client and a worker who use the connection's window to the last octet."""

    def __init__(self, opened):
        self.bench = Bench()
        self.stream = -1
        self.opened = 65_535 + opened  # by the client, for all that comes to it
        self.sent = 0  # by the worker
        self.node_greeted = False
        greeting = wire.settings([(4, (1 << 31) - 1)]) + wire.SETTINGS_ACK
        self.bench.from_client(greeting + (wire.window_update(0, opened) if opened else b""))

    def ask(self, *changes):
        self.stream += 2
        fields = dict(REQUEST) | dict(changes)
        block = encode((name, value) for name, value in fields.items() if value is not None)
        self.bench.from_client(wire.headers(self.stream, block, end_stream=False))

    def ask_the_node(self):
        self.ask((b":path", b"/torpor.v1.S/L"), (b"satellite", None))

    def node_answers(self):
        """On all of its streams, as far as their windows go."""
        if self.bench.node_leg is None:
            self.bench.connect_node()
        if self.bench.node_leg is None:
            return
        for stream, state in list(self.bench.pair.streams.states.items()):
            if state & NODE:
                self.bench.from_node(wire.settings(()) if not self.node_greeted else b"")
                self.node_greeted = True
                self.bench.from_node(wire.frame(Kind.DATA, 0, stream, bytes(3_000)))

    def not_grpc(self):
        self.ask((b"content-type", b"text/html"))

    def update(self):
        self.opened += 1_000
        self.bench.from_client(wire.window_update(0, 1_000))

    def pair_up(self):
        if self.bench.dialled and self.bench.leg is None and not self.bench.farewells:
            pair_up(self.bench)

    def worker_sends_all_it_may(self):
        """On the last stream that it was sent."""
        if self.bench.leg is None:
            return
        told = to_worker(self.bench)
        asked = [stream for kind, _, stream, _ in told if kind == Kind.HEADERS]
        updates = (wire.u32(p, 0) for kind, _, on, p in told if kind == 8 and on == 0)
        left = 65_535 + sum(updates) - self.sent
        if asked and asked[-1] in self.bench.pair.streams.states:
            for at in range(0, left, 16_384):
                size = min(16_384, left - at)
                self.bench.from_worker(wire.frame(Kind.DATA, 0, asked[-1], bytes(size)))
            self.sent += left

    def check(self):
        came = frames(self.bench.client.octets)
        octets = sum(len(payload) for kind, _, _, payload in came if kind == Kind.DATA)
        assert octets <= self.opened, "more than the client's window allows"

    def end(self):
        """All that was kept back comes, once the client has room for it; nothing twice."""
        for _ in range(400):
            self.update()
        waiting = self.bench.pair.window.waiting
        assert not waiting, f"{waiting} frames are kept back for ever"
        self.worker_sends_all_it_may()
        self.check()


@given(
    st.sampled_from([0, 20, 29, 1_000, 1_000_000]),
    st.lists(
        st.sampled_from(
            [
                Windows.ask,
                Windows.ask_the_node,
                Windows.node_answers,
                Windows.not_grpc,
                Windows.update,
                Windows.pair_up,
                Windows.worker_sends_all_it_may,
            ]
        ),
        max_size=25,
    ),
)
def test_the_clients_window_is_never_overrun(opened, steps):
    windows = Windows(opened)
    for step in steps:
        step(windows)
        windows.check()
    windows.end()
