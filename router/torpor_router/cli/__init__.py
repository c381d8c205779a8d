"""The commands: `torpor` for the platform team, `satellite` for those who own satellites.

satellite.py    `satellite`, through torpor.v1: client.py (the calls), connection.py (which router,
                as whom), follow.py and progress.py (waiting), describe.py (what people see)
torpor.py       `torpor`, on the database itself: storage.py, orgs.py, tokens.py, members.py,
                certificates.py, audit.py, fleet.py, strays.py (acting.py: into the audit log)

output.py       tables and JSON
failures.py     how a command fails: a line, a remedy, an exit code
                (client_errors.py, tls_trouble.py: why a router cannot be reached)
arguments.py    what people write, as values
interrupting.py Ctrl-C while a command waits
schemas/        what is printed with --json, as JSON schemas
lazy_group.py   commands are imported when they run, so that `--help` takes no time
"""
