"""`torpor`: for those who run the routers."""

from __future__ import annotations

import click

from torpor_router.cli.lazy_group import Elsewhere, LazyCommands

_COMMANDS = {
    "serve": Elsewhere("torpor_router.serve.command", "serve", "Run a router node."),
    "demo": Elsewhere(
        "torpor_router.demo.command", "demo", "Watch it hold, wake, build and sleep, here."
    ),
    "migrate": Elsewhere("torpor_router.cli.storage", "migrate", "Bring the database up to date."),
    "org": Elsewhere("torpor_router.cli.orgs", "org", "Make, list and remove orgs."),
    "token": Elsewhere(
        "torpor_router.cli.tokens", "token", "Make, narrow, rotate and revoke tokens."
    ),
    "member": Elsewhere("torpor_router.cli.members", "member", "People and services of an org."),
    "trust": Elsewhere("torpor_router.cli.trust", "trust", "Let CI jobs in without a secret."),
    "audit": Elsewhere("torpor_router.cli.audit", "audit", "Show who changed what."),
    "ca": Elsewhere("torpor_router.cli.ca", "ca", "A CA of your own for client certificates."),
    "cert": Elsewhere("torpor_router.cli.certificates", "cert", "Revoke client certificates."),
    "usage": Elsewhere(
        "torpor_router.cli.usage", "usage", "Show hours, wakes, and what they cost."
    ),
    "budget": Elsewhere("torpor_router.cli.budgets", "budget", "What orgs may spend in a month."),
    "runaway": Elsewhere(
        "torpor_router.cli.runaways", "runaway", "Satellites awake far beyond their own past."
    ),
    "webhook": Elsewhere("torpor_router.cli.webhooks", "webhook", "Tell people what happens."),
    "fleet": Elsewhere("torpor_router.cli.fleet", "fleet", "Look after every org's satellites."),
    "nodes": Elsewhere("torpor_router.cli.nodes", "nodes", "Look at the routers' processes."),
    "drain": Elsewhere("torpor_router.cli.nodes", "drain", "Let a node's streams end."),
    "doctor": Elsewhere("torpor_router.cli.node_doctor", "doctor", "Look for what is wrong here."),
    "pause-sleep": Elsewhere(
        "torpor_router.cli.pause_sleep", "pause_sleep", "Keep idle satellites awake for a while."
    ),
    "limit": Elsewhere("torpor_router.cli.limit", "limit", "Limit what orgs may have."),
    "image": Elsewhere("torpor_router.cli.image", "image", "Make what virtual machines boot from."),
}


@click.group(cls=LazyCommands, elsewhere=_COMMANDS)
@click.version_option(package_name="torpor", message="torpor %(version)s")
def main() -> None:
    """Torpor holds builds while it wakes their machine, and puts it to sleep afterwards.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 not available now, 130 interrupted.
    """


if __name__ == "__main__":
    main(prog_name="torpor")
