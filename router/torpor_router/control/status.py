"""An error as a google.rpc.Status, for clients that read no text."""

from __future__ import annotations

from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from torpor_provisioner.errors import TorporError

KEY = "grpc-status-details-bin"
DOMAIN = "torpor"


def details(error: TorporError, message: str, detail: str) -> bytes:
    """What stands in the trailing metadata under `KEY`; `detail` is the error's, bounded."""
    info = ErrorInfo(
        reason=error.code,
        domain=DOMAIN,
        metadata={"cause": error.cause, "detail": detail, "remedy": error.remedy},
    )
    status = Status(code=int(error.status), message=message)
    status.details.add().Pack(info)
    octets: bytes = status.SerializeToString()
    return octets
