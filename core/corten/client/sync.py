"""The client without `await`: the same sub-clients and values, on an event loop in a thread of its own.

    with Client("/run/containerd/containerd.sock") as client:
        client.pull("busybox")
        print(client.run(RunOptions("busybox", "once", SpecOptions(args=("true",)))).status)

Any thread may call, also several at once. Iterators fetch as they are drawn from. Errors are those of `corten.client`.
Method for method it is the asynchronous client: see there for what they do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Self

from corten.contracts.objects import Image
from corten.contracts.runtime import Exit

from . import archive, execute, pull, run
from .attachment import Streams
from .bridge import Face, LoopThread, blocking, streaming
from .client import DEFAULT_ADDRESS, DEFAULT_NAMESPACE
from .client import Client as AsyncClient
from .containers import Containers as AsyncContainers
from .content import Content as AsyncContent
from .diff import Diff as AsyncDiff
from .events import Events as AsyncEvents
from .execute import ExecOptions
from .images import Images as AsyncImages
from .introspection import Introspection as AsyncIntrospection
from .leases import DEFAULT_EXPIRY
from .leases import Leases as AsyncLeases
from .namespaces import Namespaces as AsyncNamespaces
from .progress import Progress, ignored
from .pull import PullOptions
from .run import RunOptions
from .snapshots import Snapshots as AsyncSnapshots
from .tasks import Tasks as AsyncTasks


class Namespaces(Face[AsyncNamespaces]):
    create = blocking(AsyncNamespaces.create)
    get = blocking(AsyncNamespaces.get)
    list = blocking(AsyncNamespaces.list)
    update = blocking(AsyncNamespaces.update)
    delete = blocking(AsyncNamespaces.delete)


class Images(Face[AsyncImages]):
    create = blocking(AsyncImages.create)
    get = blocking(AsyncImages.get)
    list = blocking(AsyncImages.list)
    update = blocking(AsyncImages.update)
    put = blocking(AsyncImages.put)
    delete = blocking(AsyncImages.delete)


class Content(Face[AsyncContent]):
    info = blocking(AsyncContent.info)
    update = blocking(AsyncContent.update)
    walk = streaming(AsyncContent.walk)
    delete = blocking(AsyncContent.delete)
    read = streaming(AsyncContent.read)
    read_all = blocking(AsyncContent.read_all)
    status = blocking(AsyncContent.status)
    statuses = blocking(AsyncContent.statuses)
    abort = blocking(AsyncContent.abort)
    put = blocking(AsyncContent.put)
    label = blocking(AsyncContent.label)


class Snapshots(Face[AsyncSnapshots]):
    stat = blocking(AsyncSnapshots.stat)
    update = blocking(AsyncSnapshots.update)
    usage = blocking(AsyncSnapshots.usage)
    mounts = blocking(AsyncSnapshots.mounts)
    prepare = blocking(AsyncSnapshots.prepare)
    view = blocking(AsyncSnapshots.view)
    commit = blocking(AsyncSnapshots.commit)
    remove = blocking(AsyncSnapshots.remove)
    walk = streaming(AsyncSnapshots.walk)
    cleanup = blocking(AsyncSnapshots.cleanup)


class Leases(Face[AsyncLeases]):
    create = blocking(AsyncLeases.create)
    delete = blocking(AsyncLeases.delete)
    list = blocking(AsyncLeases.list)
    add = blocking(AsyncLeases.add)
    remove = blocking(AsyncLeases.remove)
    resources = blocking(AsyncLeases.resources)

    @contextmanager
    def held(self, expiry: float = DEFAULT_EXPIRY) -> Iterator[str]:
        """A lease for as long as the block runs; yields its id."""
        with self._loop.entered(self._inner.held(expiry)) as lease:
            yield lease


class Containers(Face[AsyncContainers]):
    create = blocking(AsyncContainers.create)
    get = blocking(AsyncContainers.get)
    list = blocking(AsyncContainers.list)
    walk = streaming(AsyncContainers.walk)
    update = blocking(AsyncContainers.update)
    delete = blocking(AsyncContainers.delete)


class Tasks(Face[AsyncTasks]):
    create = blocking(AsyncTasks.create)
    start = blocking(AsyncTasks.start)
    get = blocking(AsyncTasks.get)
    list = blocking(AsyncTasks.list)
    kill = blocking(AsyncTasks.kill)
    exec = blocking(AsyncTasks.exec)
    resize_pty = blocking(AsyncTasks.resize_pty)
    close_stdin = blocking(AsyncTasks.close_stdin)
    pause = blocking(AsyncTasks.pause)
    resume = blocking(AsyncTasks.resume)
    pids = blocking(AsyncTasks.pids)
    update = blocking(AsyncTasks.update)
    metrics = blocking(AsyncTasks.metrics)
    wait = blocking(AsyncTasks.wait)
    delete = blocking(AsyncTasks.delete)


class Diff(Face[AsyncDiff]):
    apply = blocking(AsyncDiff.apply)
    compare = blocking(AsyncDiff.compare)


class Events(Face[AsyncEvents]):
    publish = blocking(AsyncEvents.publish)
    forward = blocking(AsyncEvents.forward)
    subscribe = streaming(AsyncEvents.subscribe)


class Introspection(Face[AsyncIntrospection]):
    version = blocking(AsyncIntrospection.version)
    server = blocking(AsyncIntrospection.server)
    plugins = blocking(AsyncIntrospection.plugins)
    plugin = blocking(AsyncIntrospection.plugin)


class Client:
    """`corten.client.Client` for code without an event loop; close it, or use it as a context manager."""

    def __init__(self, address: str = DEFAULT_ADDRESS, namespace: str = DEFAULT_NAMESPACE) -> None:
        self._loop = LoopThread()
        try:
            self._bind(self._loop.call(_made(address, namespace)))
        except BaseException:
            self._loop.close()
            raise

    def __repr__(self) -> str:
        return f"sync {self._inner!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and the thread."""
        self._loop.call(self._inner.close())
        self._loop.close()

    @property
    def namespace(self) -> str:
        return self._inner.namespace

    @contextmanager
    def leased(self, expiry: float = DEFAULT_EXPIRY) -> Iterator["Client"]:
        """A client whose new resources are safe from garbage collection until the block ends."""
        with self._loop.entered(self._inner.leased(expiry)) as inner:
            other = Client.__new__(Client)
            other._loop = self._loop
            other._bind(inner)
            yield other

    def snapshots(self, snapshotter: str = run.SNAPSHOTTER) -> Snapshots:
        return Snapshots(self._loop, self._inner.snapshots(snapshotter))

    def pull(self, name: str, options: PullOptions | None = None, progress: Progress = ignored) -> Image:
        return self._loop.call(pull.pull(self._inner, name, options, progress))

    def import_archive(self, file: BinaryIO, *, name: str = "", snapshotter: str = run.SNAPSHOTTER) -> list[Image]:
        work = archive.import_archive(self._inner, file, name=name, snapshotter=snapshotter)
        return list(self._loop.call(work))

    def run(self, options: RunOptions, streams: Streams | None = None) -> Exit:
        return self._loop.call(run.run(self._inner, options, streams))

    def exec(self, id: str, options: ExecOptions, streams: Streams | None = None) -> Exit:
        return self._loop.call(execute.exec_(self._inner, id, options, streams))

    def remove(self, id: str, *, force: bool = False) -> None:
        self._loop.call(run.remove(self._inner, id, force=force))

    def stop(self, id: str, signal: int = 15, timeout: float = 10.0) -> Exit:
        return self._loop.call(run.stop(self._inner, id, signal, timeout))

    def _bind(self, inner: AsyncClient) -> None:
        self._inner = inner
        self.namespaces = Namespaces(self._loop, inner.namespaces)
        self.images = Images(self._loop, inner.images)
        self.content = Content(self._loop, inner.content)
        self.leases = Leases(self._loop, inner.leases)
        self.containers = Containers(self._loop, inner.containers)
        self.tasks = Tasks(self._loop, inner.tasks)
        self.diff = Diff(self._loop, inner.diff)
        self.events = Events(self._loop, inner.events)
        self.introspection = Introspection(self._loop, inner.introspection)


async def _made(address: str, namespace: str) -> AsyncClient:
    return AsyncClient(address, namespace)
