"""A CA of the deployment's own, for client certificates.

authority.py  the CA itself: made, read, and what it issues
requests.py   reads what a client asks it to sign (PKCS #10)
keys.py       where its key is kept: a file, or a secret of the cloud
places.py     those places, as values
errors.py     the codes (115x)
"""
