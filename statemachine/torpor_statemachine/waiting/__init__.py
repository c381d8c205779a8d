"""Requests that wait for a transition, and how they hear of it.

waiters.py      one waiter a satellite, for all of its requests
notifier.py     who in this process is told of which satellite
pg_listener.py  LISTEN, kept alive
"""
