"""How connections come in: TLS, the PROXY protocol, and who is at the other end.

acceptor.py     a listening socket; each connection becomes a transport
tls.py          TLS for the door and towards workers
proxy.py        PROXY protocol v2: the client's own address
plaintext.py    the answer to plaintext on a port with TLS

A client certificate that is not believed is explained on the client's next connection, apart from
all that lets anyone in:

failed_hosts.py  whose handshake has failed a moment ago
explainer.py     which connections are explained
explaining.py    such a connection
explanation.py   what is said on it
lenient_tls.py   TLS that lets any certificate through, and says what is wrong with it
"""
