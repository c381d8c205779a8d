"""The lifecycle, and everything that moves a satellite through it.

fleet.py     the face: what the door and the commands ask for
switchboard.py  what a node has done and heard, passed on to its parts
gate.py      what the door sees of the lifecycle
commands.py  what people ask for: launch, wake, sleep, update, repair, terminate
config.py  errors.py  events.py  clock.py

From the top down, each room knowing only those below it:

upkeep/     the reaper and the reconciler
work/       claimed transitions, carried out
waiting/    requests that wait for them
node/       this process: heartbeat and leases
store/      everything that is said to Postgres about satellites
postgres/   connections, migrations, the embedded server
lifecycle/  states, the table, the pure decisions
"""
