"""This process as a member of the fleet: its heartbeat, and the leases that live by it.

heartbeat.py    the node's row, and for how long it may be believed
marks.py        proof that a node of this machine is dead
lease_book.py   leases and their streams, in memory
traffic.py      streams and holds, counted
lease_keeper.py the book and the database, kept alike
stream_reports.py whose streams are open, reported with the heartbeat
"""
