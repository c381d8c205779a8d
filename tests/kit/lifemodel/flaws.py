"""Ways to spoil the protocol: each must lead to a violation."""

from __future__ import annotations

NO_EPOCH = "a completion names no epoch"
NO_RECHECK = "a sleep is claimed without looking for leases under the lock"
NO_BELIEF = "a call is made without belief in the claim"
NO_LOOK = "who takes over repeats the call without a look"
NO_SECOND_LOOK = "a claim is taken over by a look that may be stale"
ONE_SNAPSHOT = "a renewal tells what was true before it waited"
NEW_TERM = "a new term is believed in before anything was told of it"
LAPSE = "belief that lapsed comes back by a heartbeat alone"
NO_DEADLINE = "a call is made after the claim's deadline"
STALE_TERM = "a lease of the term before is believed"
OWN_CLAIM = "a claim is adopted while the answer to it may yet come"
NO_RETAKE = "a lease that the database lost is not taken again under its streams"
NO_END = "a session that vanished keeps what it has locked"
NO_WORD = "a stream says nothing where its satellite is believed to be falling asleep"
NO_RECOMMIT = "who takes a sleep over calls again without asking whether it is wanted"
NO_GRACE = "a sleep is taken over before every node has found out what a failover lost"
# No mutation, but what is assumed not to be
LATE_CALLS = "a call lands after its node was given up"
LATE_EFFECTS = "a call that was given up takes effect all the same"
FAILOVER_CALLS = "a call is made under a claim that a failover has lost"
