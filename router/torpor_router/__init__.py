"""The door: listeners, relay, admission, control API, command lines, telemetry."""

import os

# Before gRPC is first used. Its support of forks has a forked process go on with the gRPC of its
# parent, on the parent's open sockets: until the other program begins it reads from them, and what
# it has read nobody else gets. Whatever is started here becomes another program at once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
