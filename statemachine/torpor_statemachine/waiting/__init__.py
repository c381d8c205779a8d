"""Requests that wait for a transition, and how they hear of it.

waiters.py       one waiter a satellite, for all of its requests
hold_reports.py  tells the database who waits here
notifier.py      wakes those in this process that wait for a change
pg_listener.py   LISTEN, kept alive
"""
