"""`satellite audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from torpor_router.cli.access_tables import SINCE, show_acts
from torpor_router.cli.connection import Target
from torpor_router.cli.output import Output
from torpor_router.cli.owner import access_client_of, command


@command("audit", "satellite audit --since 7d")
@SINCE
def audit(*, since: timedelta, target: Target, output: Output) -> None:
    """Show who changed what in the org, and who was refused for lack of rights; the oldest first.

    For the org's admins. With --json, an object a line, for those who ship logs.
    """
    begin = datetime.now(UTC) - since
    with access_client_of(target) as client:
        if output.as_json:
            for act in client.acts(begin):
                output.line(act)
        else:
            show_acts(output, client.acts(begin))
