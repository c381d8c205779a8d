"""After each wake that is refused, the next may begin only after a longer pause."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from fleetkit.world import QUICK

from torpor_provisioner.errors import Capacity
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.transitions import Transitions

CONFIG = replace(QUICK, first_back_off=10.0, longest_back_off=50.0)


async def test_back_off_grows_with_each_failure_and_ends(database: Database) -> None:
    node_id, org_id = uuid4(), uuid4()
    await Nodes(database, CONFIG, node_id).register()
    await database.execute("insert into orgs values ($1, 'acme')", org_id)
    to = Transitions(database, CONFIG, node_id)
    by = to.by("a", "b")
    new = NewSatellite(org_id=org_id, name="one", provisioner="cloud")
    satellite = (await Queries(database).launch(new, by, 60.0, uuid4())).satellite
    await database.execute(
        "update satellites set state = 'asleep', claimed_by = null, claim_deadline = null"
    )
    pauses = []
    for _ in range(4):
        await database.execute("update satellites set retry_at = null")
        now = await Queries(database).by_id(satellite.id)
        claimed = await to.wake(now, by)
        refused = await to.wake_refused(claimed.satellite, by, Capacity("no"))
        pauses.append(refused.satellite.retry_in)
        assert await to.wake(refused.satellite, by) is None
    assert [round(pause) for pause in pauses] == [10, 20, 40, 50]
