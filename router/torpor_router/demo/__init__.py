"""`torpor demo`: the whole system on this machine, and a story that a person can watch.

command.py     the options
run.py         from the beginning to the end (folder.py: one demo at a time)
stage.py       a database, two routers, an org and a token
clouds.py      where the satellites live, and the count of wakes
story.py       a build, a sleep, many builds at once (clients.py), one wake
narrator.py    how it is shown
afterwards.py  lines to paste
"""
