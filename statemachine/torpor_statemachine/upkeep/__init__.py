"""What nobody asks for and every node does: put idle satellites to sleep, and repair drift.

reaper.py      idle satellites
reconciler.py  late claims, wakes that are wanted, machines that changed behind our back
suspects.py    satellites whose worker cannot be reached
orphans.py     machines that belong to no satellite
runaways.py    satellites that are awake far beyond their own past
pruner.py      what has been kept for long enough
pace.py        how often each of many nodes looks
side_by_side.py  many claims, a few at a time
"""
