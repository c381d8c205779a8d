"""Everything that is said to Postgres about satellites, one concern a module.

Each statement is conditional on what its caller saw (the state, and the epoch), so that what was
seen a moment ago and is not true any more changes nothing.
"""
