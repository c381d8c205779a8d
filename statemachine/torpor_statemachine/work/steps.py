"""What the work of one claim consisted of, for who wants to know where its time went."""

from __future__ import annotations

from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.events import Step, Worked
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.store.changes import Changed

MOST = 64  # the first of them: a cloud that refuses for hours is called again and again
CLAIM, BOOT, PROBE = "claim", "boot", "probe"  # the others are called as the cloud's calls are


class Steps:
    """Of the work on `claim`; `last` is the last transition that the work has written."""

    def __init__(self, claim: Changed, claimed_at: float) -> None:
        self.last: Transition | None = None
        self._claimed = claim.satellite
        self._began = claim.asked_at
        self._steps = [Step(CLAIM, claim.asked_at, claimed_at)]
        self._missed = 0

    def __repr__(self) -> str:
        return f"<Steps {[step.name for step in self._steps]}>"

    def add(
        self,
        name: str,
        began: float,
        error: TorporError | None = None,
        *,
        ended: float | None = None,
    ) -> None:
        """One more, which has ended now unless it is said when."""
        if len(self._steps) >= MOST:
            self._missed += 1
            return
        self._steps.append(Step(name, began, clock.now() if ended is None else ended, error))

    def worked(self, satellite: Satellite) -> Worked:
        """All of it, as it stands now."""
        return Worked(
            satellite=satellite,
            state=self._claimed.state,
            epoch=self._claimed.epoch,
            began=self._began,
            ended=clock.now(),
            last=self.last,
            steps=tuple(self._steps),
            missed=self._missed,
        )
