"""The control API: what owners of satellites ask of a node, over gRPC.

From the outside in:

server.py           the node's gRPC server, behind the door
adapter.py          where gRPC ends: who calls, may they, and is there room (open_calls.py)
unauthenticated.py  health and reflection (reflection.py): no credentials, a few at a time
credentials.py      the token of a call
refusals.py         how a call that fails is answered, counted and logged
auditing.py         which acts are kept in the audit log

calls.py            each call of torpor.v1.Satellites, as a function of a caller and a request
access_calls.py     the same of torpor.v1.Access
rights.py           which right each call needs
following.py        a satellite on its way to where its caller wants it (progress_text.py: in words)
parse.py            requests as values of the lifecycle
messages.py         values as messages, and messages as a client reads them
access_messages.py  the same of torpor.v1.Access, for the router
access_views.py     and for its clients
detached.py         work that goes on although its caller hung up

ports.py            what the API is made from, as protocols
errors.py           its codes
"""
