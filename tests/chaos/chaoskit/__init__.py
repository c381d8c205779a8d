"""A deployment that is broken in every way known, and what looks whether it held."""

import torpor_router  # noqa: F401 - before gRPC, which looks only then whether it is to follow forks
