"""What the labels of a container ask for, and what follows from that: pure.

containerd.io/restart.status             running or stopped: what the container is wanted to be
containerd.io/restart.policy             always (if none is given), no, on-failure[:N], unless-stopped
containerd.io/restart.explicitly-stopped true once a person stopped it, which unless-stopped respects
containerd.io/restart.count              how often it was started again
containerd.io/restart.loguri             where the output of the next run goes
containerd.io/restart.logpath            where it went before containerd 2.0; not heeded any more
"""

from collections.abc import Mapping
from enum import Enum

from corten.contracts.runtime import Status
from corten.errors import InvalidArgument
from corten.values import dataclass

STATUS = "containerd.io/restart.status"
POLICY = "containerd.io/restart.policy"
COUNT = "containerd.io/restart.count"
LOG_URI = "containerd.io/restart.loguri"
LOG_PATH = "containerd.io/restart.logpath"
EXPLICITLY_STOPPED = "containerd.io/restart.explicitly-stopped"
_PLAIN = ("no", "always", "unless-stopped")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


class Action(Enum):
    NOTHING = "nothing"
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Policy:
    """`retries`: the most restarts after failures; 0 for no end."""

    name: str = "always"
    retries: int = 0


def parse(text: str) -> Policy:
    """Raises InvalidArgument for a policy that does not exist."""
    name, colon, retries = text.partition(":")
    if name == "on-failure":
        if colon and not (retries.isascii() and retries.isdigit()):
            raise InvalidArgument(f"restart policy {text!r}: {retries!r} is not a number of retries")
        return Policy(name, int(retries or 0))
    if (name or "always") not in _PLAIN or colon:
        raise InvalidArgument(f"restart policy {text!r}: it is one of always, no, on-failure[:N], unless-stopped")
    return Policy(name or "always")


def decide(labels: Mapping[str, str], status: Status | None, exit_status: int = 0) -> Action:
    """What to do about a container whose task has that status; None for a container without a task.

    Raises InvalidArgument for labels that cannot be understood.
    """
    wanted = labels.get(STATUS, "")
    if wanted == Status.STOPPED:
        return Action.NOTHING if status in (None, Status.STOPPED, Status.UNKNOWN) else Action.STOP
    if wanted != Status.RUNNING or status not in (None, Status.STOPPED, Status.CREATED):
        return Action.NOTHING
    return Action.START if _restarts(parse(labels.get(POLICY, "")), labels, exit_status) else Action.NOTHING


def count(labels: Mapping[str, str]) -> int:
    """How often it was started again. Raises InvalidArgument for what is no number."""
    text = labels.get(COUNT, "") or "0"
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument(f"label {COUNT}: {text!r} is not a number")
    return int(text)


def next_count(labels: Mapping[str, str]) -> int:
    """The number of the next restart; a count that is no number is begun anew, as containerd does."""
    try:
        return count(labels) + 1
    except InvalidArgument:
        return 1


def _restarts(policy: Policy, labels: Mapping[str, str], exit_status: int) -> bool:
    if policy.name == "on-failure":
        return exit_status != 0 and (policy.retries == 0 or count(labels) < policy.retries)
    if policy.name == "unless-stopped":
        return labels.get(EXPLICITLY_STOPPED, "") not in _TRUE
    return policy.name == "always"
