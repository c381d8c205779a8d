"""Claimed transitions, carried out: one file a state; each ends the claim or leaves it to lapse.

coordinator.py   claims, and who carries them out; why one wake is one wake
claimed_work.py  what every transition does alike: calls, epochs, completion
obstacles.py     what is in the way just now, told beside the work
launch.py  wake.py  arrival.py  sleep.py  update.py  terminate.py
"""
