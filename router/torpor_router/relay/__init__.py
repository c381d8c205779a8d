"""The relay: one client connection, the satellite behind it, and the frames between them.

From the outside in:

sockets.py        the client's socket, with what takes time; upstreams.py has those behind it
reading.py        when a socket is not read; timeouts.py  when it is given up
admission.py      the task that waits for a route and for a satellite

pair.py           the only one that knows all of the following; parts.py puts them together,
                  stream_ends.py ends single streams, retiring.py the connection;
                  looks.py keeps answers that are given again (watched.py: one of them)

client_leg.py     reads the client's frames; worker_leg.py the worker's, node_leg.py the node's own
leg.py            what they read alike
ports.py          what they tell, as protocols: a leg never holds the pair (driver.py: the pair's)
streams.py        every stream and its state; who is counted in is counted out
holding.py        requests from their arrival to their release (held.py: one of them)
early.py          answers that the door begins while a satellite wakes (telling.py: when,
                  trailers.py: what becomes of the worker's HEADERS)
node_calls.py     calls of the node's own services, beside those of the satellite
exchange.py       SETTINGS: values in, octets out
windows.py        flow control where the door stands between (pacing.py: one stream's)
binding.py        whose connection it is
abuse.py          how much of what carries nothing a peer may send
request_cache.py  decisions made before, by what decides (h2.outline)
answers.py        what the door itself answers
rewrite.py        the few octets that it writes anew (deadline.py: `grpc-timeout`)

context.py        what all connections of a process share
events.py         what telemetry is told

What passes, passes as it came: frames are read by their headers (`h2.scanner`) and only the
blocks of requests that must wait, or are the first of their kind, are decoded. What comes of a
frame goes out behind that frame: a handler sets `Streams.due`, and `Pair.run_due` does the rest
when the read has been handled.
"""
