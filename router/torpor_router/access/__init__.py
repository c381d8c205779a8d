"""Who may use which satellite: orgs, tokens, certificates, and the decision for each request.

From the outside in:

directory.py         the decision, for the door and for the control API
verdict_cache.py     decisions of the last seconds
lookups.py           many questions to the database in one query
verdict.py           that query, and what follows from its answer
revocation_cache.py  revoked certificates, for connections that are open
roles.py             roles, and what each may do (pure)

For administration, each the SQL of one concern:

store.py             orgs and tokens (uses.py: when each was last used)
removal.py           the end of an org
members.py           people and services
revocations.py       certificates that are refused
issued.py            certificates that were issued (ca/: by which CA; issuing.py: both together)
endings.py           what was ended, as each machine has seen it
sessions.py          who is signed in to the status page
audit.py             who changed what, and who was refused

errors.py            the codes (family 11xx)
"""
