"""What the lifecycle refuses, and what can go wrong in it (families 20xx and 21xx; 22xx is
the cloud's)."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError, catalogue


class LifecycleError(TorporError):
    """What the lifecycle itself tells a caller."""


class SatelliteBusy(LifecycleError):
    code = "TPR-2001"
    status = Status.FAILED_PRECONDITION
    cause = "Builds are running on the satellite"
    remedy = "Wait until they have ended, or repeat the command with --force to cut them"


class RouterSilent(SatelliteBusy):
    code = "TPR-2017"
    cause = "A router with builds on the satellite is not heard of any more"
    remedy = "Wait until its leases have ended, or repeat the command with --force"


class NameTaken(LifecycleError):
    code = "TPR-2003"
    status = Status.ALREADY_EXISTS
    cause = "The org has a satellite of that name already"
    remedy = "Choose another name, or end the other one with 'satellite rm NAME'"


class RequestReused(LifecycleError):
    code = "TPR-2023"
    status = Status.ALREADY_EXISTS
    cause = "A request of that id has launched another satellite"
    remedy = "Give each satellite that is to be launched a request_id of its own"


class UnknownProvisioner(LifecycleError):
    code = "TPR-2004"
    status = Status.INVALID_ARGUMENT
    cause = "The routers do not serve that provisioner"
    remedy = "Choose one that they serve, or start them with --provisioner NAME"


class HoldExpired(LifecycleError):
    code = "TPR-2005"
    status = Status.UNAVAILABLE
    cause = "The satellite did not wake within the hold budget"
    remedy = "Retry, for the wake goes on; 'satellite inspect NAME' tells what it waits for"


class BackingOff(LifecycleError):
    code = "TPR-2006"
    status = Status.UNAVAILABLE
    cause = "The satellite's last wakes failed, and the next try is not due yet"
    remedy = "Run 'satellite inspect NAME' for the cause, and retry later"


class SatelliteFailed(LifecycleError):
    code = "TPR-2007"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite has failed"
    remedy = "Run 'satellite repair NAME' to launch a new machine under the same name"


class SatelliteEnding(LifecycleError):
    code = "TPR-2008"
    status = Status.NOT_FOUND
    cause = "The satellite has been terminated"
    remedy = "Launch a new one with 'satellite launch NAME'"


class UnknownSatellite(LifecycleError):
    code = "TPR-2009"
    status = Status.NOT_FOUND
    cause = "There is no such satellite"
    remedy = "Run 'satellite ls' to see those there are"


class WrongState(LifecycleError):
    code = "TPR-2010"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite cannot do that in its present state"
    remedy = "Wait until it has settled ('satellite follow NAME') and try again"


class CannotChange(LifecycleError):
    code = "TPR-2011"
    status = Status.UNIMPLEMENTED
    cause = "The satellite's provisioner cannot change a machine"
    remedy = "Launch a new satellite with the settings you want"


class ProvisionerBroke(LifecycleError):
    code = "TPR-2012"
    status = Status.UNAVAILABLE
    cause = "A call to the cloud ended in a way that says nothing of its effect"
    remedy = "Nothing to do: Torpor looks at the machine and goes on; the router's log has more"


class WorkerSilent(LifecycleError):
    code = "TPR-2013"
    status = Status.UNAVAILABLE
    cause = "The machine started, but its worker did not answer in time"
    remedy = "Retry; if it stays so, look at the worker's log on the machine"


class WrongMachine(WorkerSilent):
    code = "TPR-2019"
    cause = "Another machine answers at the satellite's address"
    remedy = "Retry; if it stays so, the cloud has given the address away: ask the platform team"


class SleepStuck(LifecycleError):
    code = "TPR-2014"
    status = Status.UNAVAILABLE
    cause = "The machine was told to sleep and did not"
    remedy = "Nothing to do: it is tried again; 'satellite sleep --force NAME' does so at once"


class BadSatellite(LifecycleError):
    code = "TPR-2015"
    status = Status.INVALID_ARGUMENT
    cause = "The satellite cannot be described so"
    remedy = "Correct the value and try again"


class LifecycleBroke(LifecycleError):
    code = "TPR-2016"
    status = Status.INTERNAL
    cause = "The lifecycle failed"
    remedy = "Retry; report it to the platform team with the time and this code"


# What ends streams that were open on a satellite: it has left running


class PutToSleep(LifecycleError):
    code = "TPR-2102"
    status = Status.UNAVAILABLE
    cause = "The satellite was put to sleep while the request was running"
    remedy = "Retry if the request can be repeated: that wakes the satellite"


class Removed(LifecycleError):
    code = "TPR-2103"
    status = Status.UNAVAILABLE
    cause = "The satellite was removed while the request was running"
    remedy = "Ask the one who removed it; 'satellite ls' shows which satellites there are"


class FoundAsleep(LifecycleError):
    code = "TPR-2104"
    status = Status.UNAVAILABLE
    cause = "The satellite's machine was put to sleep from outside while the request was running"
    remedy = "Retry if the request can be repeated; look in the cloud's log for who stopped it"


class MachineMoved(LifecycleError):
    code = "TPR-2021"
    status = Status.UNAVAILABLE
    cause = "The satellite's machine has got another address while the request was running"
    remedy = "Retry if the request can be repeated; look in the cloud's log for why it moved"


class MachineGone(LifecycleError):
    code = "TPR-2105"
    status = Status.UNAVAILABLE
    cause = "The satellite's machine is gone, and the running request with it"
    remedy = "Run 'satellite repair NAME' for a new machine; the cloud's log tells who ended it"


class UnknownStray(LifecycleError):
    code = "TPR-2020"
    status = Status.NOT_FOUND
    cause = "No stray machine of that name is known"
    remedy = "Run 'torpor fleet strays' to see those there are; one that is being ended stays so"


class StrayOfSatellite(LifecycleError):
    code = "TPR-2022"
    status = Status.FAILED_PRECONDITION
    cause = "That stray machine's satellite has another machine, which is older"
    remedy = (
        "End the stray with 'torpor fleet end REF', or end the satellite and adopt the stray anew"
    )


class SatelliteSuspended(LifecycleError):
    code = "TPR-2045"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite is suspended: it was awake far beyond its own past, with few builds"
    remedy = (
        "Find what kept it awake ('satellite history NAME'); 'torpor runaway allow' lets it wake"
    )


class RunawayAwake(LifecycleError):
    code = "TPR-2046"
    status = Status.UNKNOWN
    cause = "The satellite is awake far beyond its own past, with few builds to show for it"
    remedy = "Look at whose streams keep it awake ('satellite why NAME'), and end what is forgotten"


class BudgetReached(LifecycleError):
    code = "TPR-2047"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The org has spent its budget of this month"
    remedy = "Ask the platform team to raise it ('torpor budget set'), or wait for the next month"


class BudgetNear(LifecycleError):
    code = "TPR-2048"
    status = Status.UNKNOWN
    cause = "The org has spent four fifths of its budget of this month"
    remedy = "See what costs most with 'satellite usage'; 'torpor budget set' raises the budget"


class StrayMachines(LifecycleError):
    """What a notice tells; `migrations/` write it."""

    code = "TPR-2049"
    status = Status.UNKNOWN
    cause = "Machines were found whose satellites were never in this database"
    remedy = "See 'torpor fleet strays'; they cost until 'torpor fleet adopt' or 'end'"


class SleepPaused(LifecycleError):
    code = "TPR-2030"
    status = Status.FAILED_PRECONDITION
    cause = "The platform team has paused sleep"
    remedy = "Nothing to do: it ends by itself, and 'satellite sleep NAME' works meanwhile"


class LimitReached(LifecycleError):
    code = "TPR-2050"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The organization has reached a limit that the platform team has set"
    remedy = "Put a satellite to sleep or remove one ('satellite ls'), or ask for a higher limit"


class BadLimits(LifecycleError):
    code = "TPR-2051"
    status = Status.INVALID_ARGUMENT
    cause = "No such limit can be set"
    remedy = "Give a whole number, or 'none' for no limit ('torpor limit set --help')"


class BadPause(LifecycleError):
    code = "TPR-2031"
    status = Status.INVALID_ARGUMENT
    cause = "Sleep cannot be paused so"
    remedy = "Give a time of 7 days at most (--for 2h) and a reason of 200 characters at most"


class NoNodeLives(LifecycleError):
    code = "TPR-5220"
    status = Status.UNAVAILABLE
    cause = "No router is alive that looks after the satellite's provisioner"
    remedy = "Start one with that --provisioner; 'torpor nodes ls' lists those that are alive"


class UnknownNode(LifecycleError):
    code = "TPR-5218"
    status = Status.NOT_FOUND
    cause = "No single node has an id that begins so"
    remedy = "'torpor nodes ls' lists those that are alive"


class CannotDrain(LifecycleError):
    code = "TPR-5219"
    status = Status.FAILED_PRECONDITION
    cause = "The node cannot be drained from here: it has gone, or its version is older"
    remedy = "Send its process SIGTERM"


def record(error: TorporError) -> str:
    """An error as the database keeps it."""
    return storable(f"{error.code} {error.detail}".rstrip())


def storable(text: str) -> str:
    """Clouds and workers may say what Postgres does not keep: NUL, or half of a character."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def in_short(failure: str) -> str:
    """What `record` kept in words, without what to do about it."""
    error = recall(failure)
    return f"{error.code} {error.message}"


def recall(failure: str) -> TorporError:
    """The error that `record` kept; one of an unknown code comes as `SatelliteFailed`."""
    code, _, detail = failure.partition(" ")
    for kind in catalogue():
        if kind.code == code:
            return kind(detail)
    return SatelliteFailed(failure)
