"""Snapshotters and differs in processes of their own, as plugins here: containerd's gRPC behind Corten's contracts.

    proxy = ProxySnapshotter("/run/tape.sock", "tape")
    await proxy.start()                      # on the event loop; what follows is called in pools
    mounts = proxy.prepare("key", "parent")

An entry of `proxy_plugins` in the configuration becomes a plugin of this kind.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Progress
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import SnapshotInfo, Usage
from corten.errors import Internal, Unavailable, Unimplemented
from corten.wire.channel import Channel

from .calls import Calls
from .diff import Diff
from .snapshots import Snapshots

T = TypeVar("T")
DEFAULT_NAMESPACE = "default"


class Connection:
    """One channel to a proxy; calls block, from any thread but the event loop's."""

    def __init__(self, address: str, what: str) -> None:
        self._address = address
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        return f"Connection({self._what} at {self._address})"

    async def start(self) -> None:
        """Make the channel on the running event loop; the proxy need not be there yet."""
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(self._address)

    def close(self) -> None:
        """End the connection, soon."""
        if self._loop is not None and self._channel is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._channel.close(), self._loop)

    def calls(self, namespace: str) -> Calls:
        """Raises Unavailable before `start`."""
        if self._channel is None:
            raise Unavailable(f"{self._what}: it is not started yet")
        return Calls(self._channel, namespace)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what `work` returns."""
        loop = self._loop
        if loop is None:
            work.close()
            raise Unavailable(f"{self._what}: it is not started yet")
        if _running() is loop:
            work.close()
            raise Internal(f"{self._what}: called on the event loop, which would wait for itself")
        return asyncio.run_coroutine_threadsafe(work, loop).result()


class ProxySnapshotter:
    """Contract `Snapshotter` and `Cleaner`. Keys of the metadata store begin with the namespace, which is passed on."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._connection = Connection(address, f"snapshotter {name}")

    def __repr__(self) -> str:
        return f"ProxySnapshotter({self._connection!r})"

    async def start(self) -> None:
        await self._connection.start()

    def close(self) -> None:
        self._connection.close()

    def stat(self, key: str) -> SnapshotInfo:
        return self._connection.run(self._at(key).stat(key))

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        return self._connection.run(self._at(info.name).update(info, fieldpaths))

    def usage(self, key: str) -> Usage:
        return self._connection.run(self._at(key).usage(key))

    def mounts(self, key: str) -> list[Mount]:
        return self._connection.run(self._at(key).mounts(key))

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._connection.run(self._at(key).prepare(key, parent, labels))

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._connection.run(self._at(key).view(key, parent, labels))

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        self._connection.run(self._at(key).commit(name, key, labels, parent))

    def remove(self, key: str) -> None:
        self._connection.run(self._at(key).remove(key))

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        pages = self._at("").pages(filters)
        try:
            while (page := self._connection.run(anext(pages, None))) is not None:
                yield from page
        finally:
            self._connection.run(pages.aclose())

    def cleanup(self) -> None:
        try:
            self._connection.run(self._at("").cleanup())
        except Unimplemented:
            pass  # it removes at once

    def _at(self, key: str) -> Snapshots:
        namespace, slash, _ = key.partition("/")
        return Snapshots(self._connection.calls(namespace if slash else DEFAULT_NAMESPACE), self._name)


class ProxyDiffer:
    """Contract `Differ`; the proxy reads and writes blobs through the daemon's own socket."""

    def __init__(self, address: str, name: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        self._namespace = namespace
        self._connection = Connection(address, f"differ {name}")

    def __repr__(self) -> str:
        return f"ProxyDiffer({self._connection!r})"

    async def start(self) -> None:
        await self._connection.start()

    def close(self) -> None:
        self._connection.close()

    def apply(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        content: ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        sync_fs: bool = False,
        progress: Progress | None = None,
    ) -> Descriptor:
        return self._connection.run(self._diff().apply(layer, mounts, payloads=payloads, sync_fs=sync_fs))

    def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        content: ContentStore,
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: int | None = None,
    ) -> Descriptor:
        work = self._diff().compare(
            lower, upper, media_type=media_type, ref=ref, labels=labels, source_date_epoch=source_date_epoch
        )
        return self._connection.run(work)

    def _diff(self) -> Diff:
        return Diff(self._connection.calls(self._namespace))


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
