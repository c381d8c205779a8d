"""`torpor demo`: the whole system on this machine, and a story that a person can watch."""
