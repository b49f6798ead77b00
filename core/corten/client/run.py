"""Containers from images: made, run to their end, removed, each in one call."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import field, replace
from functools import partial

from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container, RuntimeInfo
from corten.contracts.runtime import Exit, Stdio
from corten.errors import CortenError, FailedPrecondition, NotFound, PermissionDenied
from corten.oci import rootfs, spec, users
from corten.oci.image_defaults import container_labels
from corten.oci.options import SpecOptions, User
from corten.platforms import Platform
from corten.values import dataclass

from . import fifos, logs, restarts
from .attachment import Streams
from .client import Client
from .image import Resolved, find, resolve
from .naming import of_container
from .process import Process, attach, opened
from .progress import Progress, ignored
from .unpack import is_unpacked, unpack

RUNTIME = "io.containerd.runc.v2"
SNAPSHOTTER = "overlayfs"
KILL = 9


@dataclass(frozen=True, slots=True)
class RunOptions:
    """A container to be made of an image that the daemon has."""

    image: str
    id: str
    spec: SpecOptions = field(default_factory=SpecOptions)
    user: str = ""
    """As in an image config (`NAME`, `UID:GID` …); replaces the image's."""
    groups: tuple[int, ...] = ()
    """Further groups of the user, by number."""
    snapshotter: str = SNAPSHOTTER
    runtime: RuntimeInfo = field(default_factory=lambda: RuntimeInfo(RUNTIME))
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    """Which of an image for several; this machine's by default."""


async def create(client: Client, options: RunOptions, progress: Progress = ignored) -> Container:
    """Make the container record and its writable snapshot; nothing is left when it fails.

    Unpacks the image first if need be. Raises NotFound for image, snapshotter, user, AlreadyExists for the id,
    InvalidArgument for the options.
    """
    image = await resolve(client, await find(client, options.image), options.platform)
    async with client.leased() as leased:
        if not await is_unpacked(leased, image, options.snapshotter):
            await unpack(leased, image, options.snapshotter, progress)
        snapshots = leased.snapshots(options.snapshotter)
        mounts = await snapshots.prepare(options.id, image.top)
        done = False
        try:
            user = _joined(await _user(mounts, options.user or image.defaults.user), options.groups)
            made = await leased.containers.create(_record(leased.namespace, options, image, user))
            done = True
            return made
        except asyncio.CancelledError:
            with suppress(CortenError):  # the daemon may have made it nevertheless
                await asyncio.shield(leased.containers.delete(options.id))
            raise
        finally:
            if not done:
                with suppress(CortenError):
                    await snapshots.remove(options.id)


async def start(
    client: Client,
    container: Container,
    streams: Streams | None = None,
    *,
    tty: bool = False,
    keys: bytes = b"",
    copy: bool = True,
) -> Process:
    """Create and start the task of a container; without `streams` its output goes nowhere.

    With `copy` False the FIFOs are made, but left to whoever attaches later.
    On failure no task is left. Raises AlreadyExists if it has a task, and the runtime's errors.
    """
    pipes, attachment = opened(streams, tty=tty, keys=keys)
    process = Process(client, container.id, "", pipes, attachment)
    stdio = pipes.stdio if pipes else Stdio(terminal=tty)
    return await _started(client, container, process, stdio, pipes, copy=copy)


async def start_logged(
    client: Client, container: Container, path: str, *, tty: bool = False, stdin: bool = False
) -> Process:
    """As `start`, with the output in the log at `path`; others may join where the daemon can (`process.attach`)."""
    stdio = logs.stdio(path, joinable=await client.attachments.offered(), stdin=stdin, terminal=tty)
    logs.make_folder(path)
    return await _started(client, container, Process(client, container.id), stdio, None, copy=False)


async def start_joined(client: Client, container: Container, path: str, streams: Streams, keys: bytes = b"") -> Process:
    """Start it on a terminal, connected to it from the first byte; others may join, and this client may leave.

    Its output goes to the log at `path` too, if that is not empty. Only where the daemon has `Attachments`.
    """
    stdio = logs.stdio(path, joinable=True, stdin=streams.stdin is not None, terminal=True)
    if path:
        logs.make_folder(path)
    joined = partial(attach, client, container.id, streams, keys, holds_up=True)
    return await _started(client, container, Process(client, container.id), stdio, None, copy=True, joined=joined)


async def _started(
    client: Client,
    container: Container,
    process: Process,
    stdio: Stdio,
    pipes: fifos.Fifos | None,
    *,
    copy: bool,
    joined: Callable[[], Awaitable[Process]] | None = None,
) -> Process:
    """`joined` makes the process, once there is a task, of one that has no streams yet."""
    created = False
    try:
        with of_container(container.id):
            mounts = await _rootfs(client, container)
            await client.tasks.create(container.id, mounts, stdio, container.runtime.options)
            created = True
            process = await joined() if joined else process
            await process.start(copy=copy)
    except BaseException:
        await asyncio.shield(process.discard() if created else _released(process, pipes))
        raise
    return process


async def run(client: Client, options: RunOptions, streams: Streams | None = None) -> Exit:
    """Create, start, wait, and remove everything again, also on failure."""
    container = await create(client, options)
    try:
        process = await start(client, container, streams, tty=options.spec.terminal)
        ended = await process.wait()
        await process.delete()
        assert ended is not None, "nobody can detach without keys"
        return ended
    finally:
        await asyncio.shield(remove(client, container.id, force=True))


async def remove(client: Client, id: str, *, force: bool = False) -> None:
    """Remove a container with its task, snapshot and FIFOs.

    `force` kills a running task first; without it FailedPrecondition is raised for one. Raises NotFound.
    """
    container = await client.containers.get(id)
    if force:
        await restarts.say(client, container, stopped=True)
    await _remove_task(client, id, force=force)
    if container.snapshot_key:
        with suppress(NotFound):
            await client.snapshots(container.snapshotter).remove(container.snapshot_key)
    await client.containers.delete(id)
    if (log := container.labels.get(logs.LOG_LABEL)) == logs.default_path(client.namespace, id):
        await asyncio.to_thread(logs.remove, log)


async def remove_ended_task(client: Client, id: str) -> None:
    """Make room for a new task of the container; FailedPrecondition if the old one still runs."""
    await _remove_task(client, id, force=False)


async def stop(client: Client, id: str, signal: int, timeout: float) -> Exit:
    """Signal the task, and kill it when it has not ended after `timeout` seconds. Raises NotFound.

    The ended task stays until the container is removed.
    """
    ended = asyncio.ensure_future(client.tasks.wait(id))
    try:
        with suppress(NotFound):  # it has ended by itself
            await client.tasks.kill(id, signal)
        done, _ = await asyncio.wait((ended,), timeout=timeout)
        if not done:
            with suppress(NotFound):
                await client.tasks.kill(id, KILL, all=True)
        return await ended
    finally:
        ended.cancel()


def _record(namespace: str, options: RunOptions, image: Resolved, user: User) -> Container:
    document = spec.build(namespace, options.id, replace(options.spec, user=user), image.defaults)
    return Container(
        id=options.id,
        labels={**container_labels(image.defaults), **options.labels},
        image=image.name,
        runtime=options.runtime,
        spec=AnyValue(spec.SPEC_TYPE, json.dumps(document).encode()),
        snapshotter=options.snapshotter,
        snapshot_key=options.id,
    )


def _joined(user: User, groups: tuple[int, ...]) -> User:
    known = user.additional_gids
    return replace(user, additional_gids=(*known, *(gid for gid in dict.fromkeys(groups) if gid not in known)))


async def _user(mounts: list[Mount], user: str) -> User:
    """The image's own passwd decides; a client that may not mount can still do without it for numbers."""
    try:
        return await asyncio.to_thread(_resolved, mounts, user)
    except PermissionDenied:
        return users.resolve(user)


def _resolved(mounts: list[Mount], user: str) -> User:
    from corten.linux.mount import temporary_mount

    with temporary_mount([replace(mount, options=(*mount.options, "ro")) for mount in mounts]) as root:
        return rootfs.resolve_user(root, user)


async def _rootfs(client: Client, container: Container) -> list[Mount]:
    if not container.snapshot_key:
        return []
    return await client.snapshots(container.snapshotter).mounts(container.snapshot_key)


async def _released(process: Process, pipes: fifos.Fifos | None) -> None:
    await process.release()
    if pipes is not None:
        pipes.remove()


async def _remove_task(client: Client, id: str, *, force: bool) -> None:
    try:
        state = await client.tasks.get(id)
        if state.status not in ("stopped", "unknown"):
            if not force:
                raise FailedPrecondition(f"container {id!r}: its task is {state.status}")
            await stop(client, id, KILL, 10)
        await client.tasks.delete(id)
    except NotFound:
        return
    if (pipes := fifos.of(state.stdio)) is not None:
        pipes.remove()
