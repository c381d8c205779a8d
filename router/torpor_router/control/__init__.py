"""The control API: what owners of satellites ask of a node."""
