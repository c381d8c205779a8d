"""What can keep the embedded Postgres from running (family 52xx, the router's storage)."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class EmbeddedPostgresError(TorporError):
    """No database of our own; a URL of another always helps."""


class NoPostgres(EmbeddedPostgresError):
    code = "TPR-5211"
    status = Status.FAILED_PRECONDITION
    cause = "There is no Postgres to run on this machine"
    remedy = "Give TORPOR_DATABASE_URL, or install Postgres 14 or newer"


class PostgresFailed(EmbeddedPostgresError):
    code = "TPR-5212"
    status = Status.UNAVAILABLE
    cause = "The embedded Postgres did not start"
    remedy = "Look at postgres.log in the data folder, or give TORPOR_DATABASE_URL"


class FolderInUse(EmbeddedPostgresError):
    code = "TPR-5213"
    status = Status.FAILED_PRECONDITION
    cause = "Another process holds this data folder, and its Postgres does not answer"
    remedy = "Stop that process, or use another data folder"


class FolderOfAnotherVersion(EmbeddedPostgresError):
    code = "TPR-5214"
    status = Status.FAILED_PRECONDITION
    cause = "The data folder was made by another major version of Postgres"
    remedy = "Dump it with that version and load it into a new folder, or use a new folder"


class FolderUnusable(EmbeddedPostgresError):
    code = "TPR-5215"
    status = Status.FAILED_PRECONDITION
    cause = "Postgres cannot use the data folder"
    remedy = "Use a folder of your own on a local file system"
