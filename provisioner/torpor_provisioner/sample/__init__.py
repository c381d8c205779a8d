"""The worker that ships with Torpor: a small build service to see sleep and wake by.

    python -m torpor_provisioner.sample --port 9000 --data /tmp/one

Its counter lives in memory and its cache on disk, so `Info` shows what a sleep has kept.
"""
