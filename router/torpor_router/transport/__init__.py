"""How connections come in: TLS, the PROXY protocol, and who is at the other end.

acceptor.py     a listening socket; each connection becomes a transport
tls.py          TLS for the door and towards workers
proxy.py        PROXY protocol v2: the client's own address
plaintext.py    the answer to plaintext on a port with TLS
"""
