"""A Postgres of our own, where there is none: started, watched and ended with its owner."""

from torpor_statemachine.postgres.embedded.errors import EmbeddedPostgresError
from torpor_statemachine.postgres.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
