"""Who may use which satellite: orgs, tokens, certificates, and the decision for each request."""
