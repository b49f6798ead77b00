"""What the stores of this package share: the transactions, the exchange, and the books on what is under way."""

import logging
import threading
from collections import defaultdict
from dataclasses import field

from corten.contracts.events import Exchange
from corten.errors import CortenError
from corten.values import dataclass
from google.protobuf.message import Message

from .expiry import Alarm
from .holds import Holds
from .store import Store

log = logging.getLogger(__name__)


class Leftovers:
    """Things of the backends that lost their last record, until the collector has removed them. In memory only.

    What a crash makes it forget is found by comparing a backend with the records, which the first collection does
    (`unchecked` names the backends for which that is still to be done).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: defaultdict[str, set[str]] = defaultdict(set)
        self._checked: set[str] = set()

    def add(self, backend: str, *things: str) -> None:
        """Backends are `blobs`, `ingests` and `snapshots/NAME`."""
        with self._lock:
            self._things[backend].update(things)

    def take(self, backend: str) -> set[str]:
        """Everything noted for a backend; put back with `add` what could not be removed."""
        with self._lock:
            return self._things.pop(backend, set())

    def unchecked(self, backend: str) -> bool:
        """Whether this backend was never compared with the records."""
        return backend not in self._checked

    def checked(self, backend: str) -> None:
        """The comparison was made."""
        self._checked.add(backend)


@dataclass(frozen=True, slots=True)
class Common:
    """One per metadata store."""

    store: Store
    exchange: Exchange
    alarm: Alarm = field(default_factory=Alarm)
    holds: Holds = field(default_factory=Holds)
    leftovers: Leftovers = field(default_factory=Leftovers)

    def publish(self, namespace: str, topic: str, event: Message) -> None:
        """Send an event about what is durable by now; that it cannot be sent must not undo the caller's success."""
        try:
            self.exchange.publish(namespace, topic, event)
        except CortenError as error:
            log.warning("event %s in namespace %s was not published: %s", topic, namespace, error)
