"""`torpor serve`: the composition root, where every part is made and given to the others.

command.py      the options (options.py: one for each limit)
config.py       what they amount to, checked before anything starts
run.py          from a configuration to a process, and from a signal to its end
supervisor.py   several processes on one port
node.py         one node: every part is made here
status.py       the status page, if it is wanted
reload.py       what SIGHUP reads again
ports.py        can this address be listened on?
logs.py         log lines, without secrets
"""
