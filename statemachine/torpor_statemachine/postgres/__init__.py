"""Postgres itself, whatever it is used for.

pool.py      connections, and errors by what can be done about them
migrate.py   numbered plain SQL files
embedded/    a server of our own, for whoever has none
"""
