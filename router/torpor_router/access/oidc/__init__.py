"""CI jobs without secrets: tokens for whom an identity provider vouches (OpenID Connect).

An org trusts an issuer by rules (`rules`). A job shows the identity token that its CI system
signed, here called the assertion (`assertions` reads and verifies it, with the issuer's keys from
`issuers`); `exchange` gives it a token of the org's for a short time, to be shown everywhere as
any other. An assertion that is itself shown in a token's place is exchanged there and then: its
hash becomes the token's. `store` keeps rules and tokens.
"""
