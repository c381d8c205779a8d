"""An identity provider of our own: it signs real tokens, and serves its keys over real HTTPS."""
