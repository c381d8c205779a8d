"""Tells people what happened, through webhooks: at least once, and in nobody's way.

kinds.py      what there is to tell of
message.py    a notice as JSON, and as Slack reads it
signing.py    how a receiver knows that it is from us
reach.py      which addresses may be told
sealing.py    how a webhook's address and secret are kept
webhooks.py   orgs' and operators' webhooks in the database
outbox.py     what is to be delivered, and what became of it
sender.py     one delivery over HTTP
deliverer.py  the task that delivers, on every node

Notices themselves are written by the database (`add_notice`, in migrations/), in the transaction
of what they tell of.
"""
