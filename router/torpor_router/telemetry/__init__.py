"""What operators see of a node: metrics, health and log lines.

catalogue.py    every metric: its name, kind, labels and meaning (docs/metrics.md is made from it)
instruments.py  the catalogue as OpenTelemetry instruments
relay.py        what the relay reports; fleet.py the lifecycle, refusals.py who is refused
traces/         spans of requests that waited and of wakes, sent to a collector
census.py       satellites by state, asked of the database
month.py        what this month was so far: hours, wakes, money, by group too
zeros.py        series at 0 of what has not happened yet
trace_ids.py     of which trace a request is, for log lines
lag.py          how late the event loop is
endpoint.py     /metrics, /healthz and /readyz
telemetry.py    puts the others together
"""
