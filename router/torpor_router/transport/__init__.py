"""How connections come in: TLS, the PROXY protocol, and who is at the other end."""
