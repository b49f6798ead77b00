"""`Client`: one connection to a daemon that speaks containerd's API, seen from one namespace."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from corten.wire.channel import Channel

from .attachments import Attachments
from .calls import Calls
from .containers import Containers
from .content import Content
from .diff import Diff
from .events import Events
from .images import Images
from .introspection import Introspection
from .leases import DEFAULT_EXPIRY, Leases
from .namespaces import Namespaces
from .snapshots import Snapshots
from .tasks import Tasks
from .transfer import Transfers

DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
DEFAULT_NAMESPACE = "default"


class Client:
    """Use it as an asynchronous context manager on the event loop; it raises only errors of `corten.errors`.

    async with Client("/run/containerd/containerd.sock", namespace="default") as client:
        for image in await client.images.list():
            print(image.name)

    Unavailable, with the address and the remedy, is raised by the first call when no daemon answers.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.address = address
        self._bind(Calls(Channel(address), namespace))

    def __repr__(self) -> str:
        return f"Client({self.address!r}, namespace={self.namespace!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection, for the clients made by `scoped` too."""
        await self._calls.channel.close()

    @property
    def namespace(self) -> str:
        return self._calls.namespace

    @property
    def calls(self) -> Calls:
        """What the sub-clients make their calls through, for services that have none."""
        return self._calls

    @property
    def lease(self) -> str:
        """The id of the lease that what this client makes joins; empty for none."""
        return self._calls.lease

    def scoped(self, *, namespace: str | None = None, lease: str | None = None) -> "Client":
        """The same connection seen from another namespace, or with a lease."""
        other = Client.__new__(Client)
        other.address = self.address
        other._bind(
            Calls(
                self._calls.channel,
                self.namespace if namespace is None else namespace,
                self.lease if lease is None else lease,
            )
        )
        return other

    @asynccontextmanager
    async def leased(self, expiry: float = DEFAULT_EXPIRY) -> AsyncIterator["Client"]:
        """A client whose new resources are safe from garbage collection until the block ends.

        The lease ends by itself after `expiry` seconds. A client that has a lease already is used as it is.
        """
        if self.lease:
            yield self
            return
        async with self.leases.held(expiry) as lease:
            yield self.scoped(lease=lease)

    def snapshots(self, snapshotter: str = "overlayfs") -> Snapshots:
        """The snapshots of one snapshotter."""
        return Snapshots(self._calls, snapshotter)

    def _bind(self, calls: Calls) -> None:
        self._calls = calls
        self.namespaces = Namespaces(calls)
        self.images = Images(calls)
        self.content = Content(calls)
        self.leases = Leases(calls)
        self.containers = Containers(calls)
        self.tasks = Tasks(calls)
        self.attachments = Attachments(calls)
        self.diff = Diff(calls)
        self.events = Events(calls)
        self.introspection = Introspection(calls)
        self.transfers = Transfers(calls)
