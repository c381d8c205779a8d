"""`satellite doctor`: where the way from this machine to a satellite's worker is broken.

finding.py   what one check found
network.py   DNS and TCP
tls.py       the certificate's name and chain, its dates and this machine's clock, HTTP/2
router.py    token, permission, route and worker
examine.py   all of them in order, until one fails
command.py   the command
"""
