"""Spans of what is rare: requests that waited for a satellite, and the wakes that they waited for.

Streams to satellites that are awake make none. Off, no module of this folder is imported.

contexts.py  the caller's context, a wake's (which every node can tell), and what the worker gets
holds.py     a span for each request that waits; wakes.py one for each wake and launch
outbox.py    spans on their way to a collector: a bound, and a count of those that did not get there
tracing.py   puts the others together
"""
