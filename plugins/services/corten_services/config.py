"""The settings of the plugins in this package."""

from corten.events.bounds import SUBSCRIBER_BOUND
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """`io.containerd.event.v1.exchange`."""

    subscriber_bound: int = SUBSCRIBER_BOUND
    """Events that a subscriber may be behind before it is ended with ResourceExhausted."""


@dataclass(frozen=True, slots=True)
class DiffConfig:
    """`io.containerd.service.v1.diff-service`."""

    default: tuple[str, ...] = ("walking",)
    """Ids of the differs in the order in which they are asked; one that does not know a media type passes it on."""
    sync_fs: bool = False
    """Write every unpacked layer to disk before it is reported as done, also when the client did not ask for it."""
