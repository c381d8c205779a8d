"""Who may use which satellite: orgs, tokens, certificates, and the decision for each request."""

from torpor_router.access.directory import Directory
from torpor_router.access.store import Org, Store, Token
from torpor_router.access.verdict import Caller

__all__ = ["Caller", "Directory", "Org", "Store", "Token"]
