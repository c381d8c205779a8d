"""What a satellite is, the states it can be in, and the pure decisions about both: no I/O.

states.py     the words: states, kinds of wake, modes of sleep
machine.py    the lifecycle as a checked, drawn table
satellite.py  a satellite and its log, as values
policy.py     what to do about what is seen
specs.py      what may be asked of the fleet, checked
"""
