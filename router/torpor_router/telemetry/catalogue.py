"""Every metric, once: its name as Prometheus shows it, its kind, its labels and its meaning.

The instruments are made from this and `docs/metrics.md` is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# seconds; a resume takes some ten, a launch a minute or two, a hold at most its budget
_WAITS = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0),
    *(60.0, 90.0, 120.0, 180.0, 300.0, 600.0),
)
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def instrument(self) -> str:
        """Its name in OpenTelemetry, to which the exporter adds what Prometheus wants."""
        return self.name.removesuffix("_total")

    @property
    def unit(self) -> str:
        return "s" if "_seconds" in self.name else ""


HELD = Metric("torpor_held_requests", Kind.GAUGE, "Requests that wait for their satellite now.")
HOLD = Metric(
    "torpor_hold_duration_seconds",
    Kind.HISTOGRAM,
    "How long requests waited. `outcome` is released, refused or cancelled (by the client);"
    " `wake_kind` is empty unless released.",
    ("wake_kind", "outcome"),
    _WAITS,
)
WAKE = Metric(
    "torpor_wake_duration_seconds",
    Kind.HISTOGRAM,
    "From a wake's claim to its worker's answer, for the wakes that this node carried out.",
    ("wake_kind",),
    _WAITS,
)
MEMORY_LOST = Metric(
    "torpor_memory_lost_total",
    Kind.COUNTER,
    "Wakes of satellites that were told to hibernate and whose machines had booted anew, as their"
    " boot ids show: the cloud shut them down instead, or they could not hibernate.",
    ("provisioner",),
)
TRANSITIONS = Metric(
    "torpor_transitions_total",
    Kind.COUNTER,
    "Lifecycle transitions of this node's doing. `reason` is the first word of the reason in the"
    " transitions log.",
    ("event", "reason"),
)
OPEN_STREAMS = Metric("torpor_open_streams", Kind.GAUGE, "Streams open through this node now.")
STREAMS = Metric("torpor_streams_total", Kind.COUNTER, "Streams let through.")
OPEN_CONNECTIONS = Metric("torpor_open_connections", Kind.GAUGE, "Client connections open now.")
CONNECTIONS = Metric("torpor_connections_total", Kind.COUNTER, "Client connections accepted.")
ACCEPT_FAILURES = Metric(
    "torpor_accept_failures_total",
    Kind.COUNTER,
    "Client connections that could not be accepted: the process may open no more files, say.",
)
DISBELIEVED = Metric(
    "torpor_client_certificates_disbelieved_total",
    Kind.COUNTER,
    "Client certificates of another CA, or for another use: TLS ended with an alert.",
    ("reason",),
)
STRANGERS = Metric(
    "torpor_strangers",
    Kind.GAUGE,
    "Client connections open now on which no request has been let in.",
)
STRANGERS_REFUSED = Metric(
    "torpor_strangers_refused_total",
    Kind.COUNTER,
    "Client connections without credentials that were ended because there were too many, by code.",
    ("code",),
)
REFUSALS = Metric(
    "torpor_refusals_total",
    Kind.COUNTER,
    "Requests answered by the router itself, by code (see errors.md).",
    ("code",),
)
WORKER_LOST = Metric(
    "torpor_worker_lost_total",
    Kind.COUNTER,
    "Connections to workers that ended under open streams, by code.",
    ("code",),
)
LAG = Metric(
    "torpor_event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late the event loop ran a timer. BuildKit gives up a build after 10 s of silence.",
    (),
    _LAGS,
)
SATELLITES = Metric(
    "torpor_satellites",
    Kind.GAUGE,
    "Satellites of all orgs by state, from the database: every node tells the same, so take the"
    " maximum, not the sum. Absent while the database is away.",
    ("state",),
)
KEPT_AWAKE = Metric(
    "torpor_satellites_kept_awake",
    Kind.GAUGE,
    "Satellites that streams through this process keep awake, as of its last heartbeat. Where two"
    " processes keep one awake, both count it.",
)
STREAMS_KEEPING = Metric(
    "torpor_streams_keeping_awake",
    Kind.GAUGE,
    "Streams through this process that keep satellites awake, as of its last heartbeat; of whom"
    " they are, `torpor fleet why` says.",
)
OLDEST_KEEPING = Metric(
    "torpor_oldest_stream_keeping_awake_seconds",
    Kind.GAUGE,
    "For how long the oldest of those streams has been open; 0 where there is none. One that grows"
    " for days is of a client that was forgotten.",
)
STRAYS = Metric(
    "torpor_stray_machines",
    Kind.GAUGE,
    "Machines whose satellites were never in this database, from the database: every node tells"
    " the same. They cost until 'torpor fleet adopt' or 'end'. Absent where there are none.",
    ("provisioner",),
)
DATABASE_UP = Metric("torpor_database_up", Kind.GAUGE, "Whether the database answers this node.")
DATABASE_STATEMENTS = Metric(
    "torpor_database_statements_total",
    Kind.COUNTER,
    "Statements that this process has sent. A stream to a satellite that is awake costs none.",
)
DATABASE_WAITS = Metric(
    "torpor_database_waits_total",
    Kind.COUNTER,
    "Statements that gave up waiting, and are tried again by the caller: for `lock`, which"
    " another session of the database held for a second; for `connection`, because all of this"
    " process's were in use for five.",
    ("waited_for",),
)
NOTICES = Metric(
    "torpor_notice_deliveries_total",
    Kind.COUNTER,
    "Deliveries to webhooks that this process has tried: `result` is delivered, failed (it is tried"
    " again) or given up.",
    ("result",),
)
PROVISIONER_FAILURES = Metric(
    "torpor_provisioner_failures_total",
    Kind.COUNTER,
    "Calls to a cloud that failed, whether or not they are tried again, by call and code.",
    ("call", "code"),
)

_GROUPS = ("by", "group")
MONTH_HOURS = Metric(
    "torpor_month_hours",
    Kind.GAUGE,
    "Hours of satellites in this month (UTC) so far, by `state`: awake (waking with it), waking,"
    " asleep, failed. From the database: every node tells the same, some minutes old. Without `by`"
    " of all satellites; with --metrics-by also of each `group`.",
    ("state", *_GROUPS),
)
MONTH_WAKES = Metric(
    "torpor_month_wakes",
    Kind.GAUGE,
    "Wakes in this month so far; as torpor_month_hours.",
    ("wake_kind", *_GROUPS),
)
MONTH_STREAMS = Metric(
    "torpor_month_streams",
    Kind.GAUGE,
    "Streams that began in this month so far; as torpor_month_hours.",
    _GROUPS,
)
MONTH_HELD = Metric(
    "torpor_month_held_seconds",
    Kind.GAUGE,
    "How long requests were held in this month so far, all together; as torpor_month_hours.",
    _GROUPS,
)
MONTH_MONEY = Metric(
    "torpor_month_money",
    Kind.GAUGE,
    "Money of this month so far, by `amount`: spent, always_on (what machines that never sleep"
    " would have cost), saved; as torpor_month_hours. Absent without --prices.",
    ("amount", "currency", *_GROUPS),
)
SPAN_OUTCOMES = ("sent", "refused", "dropped")
SPANS = Metric(
    "torpor_spans_total",
    Kind.COUNTER,
    "Spans of traces: `sent`, `refused` (the collector did not take them in time) or `dropped` (too"
    " many at once).",
    ("outcome",),
)

METRICS = (
    *(HELD, HOLD, WAKE, TRANSITIONS, OPEN_STREAMS, STREAMS, OPEN_CONNECTIONS, CONNECTIONS),
    *(
        ACCEPT_FAILURES,
        DISBELIEVED,
        STRANGERS,
        STRANGERS_REFUSED,
        REFUSALS,
        WORKER_LOST,
        MEMORY_LOST,
        LAG,
        SATELLITES,
        KEPT_AWAKE,
        STREAMS_KEEPING,
        OLDEST_KEEPING,
        STRAYS,
    ),
    *(DATABASE_UP, DATABASE_STATEMENTS, DATABASE_WAITS, PROVISIONER_FAILURES, SPANS, NOTICES),
    *(MONTH_HOURS, MONTH_WAKES, MONTH_STREAMS, MONTH_HELD, MONTH_MONEY),
)
