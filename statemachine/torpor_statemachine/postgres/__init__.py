"""Postgres itself, whatever it is used for.

errors.py    what can be wrong with it, by what can be done about that
session.py   how a session begins, and what bounds it
role.py      the same for sessions that a pooler opens
pool.py      connections
width.py     how many of them at a time
migrate.py   numbered plain SQL files
embedded/    a server of our own, where there is none
"""
