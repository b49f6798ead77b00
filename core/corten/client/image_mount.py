"""Images mounted on this machine: a snapshot of their own, kept by a lease, under the target's path."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.contracts.objects import Resource
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from corten.platforms import Platform

from .client import Client
from .image import find, resolve
from .unpack import unpack

LABEL = "io.corten.image-mount"
"""On the lease of a mounted image: its snapshotter."""


async def mount(
    client: Client,
    name: str,
    target: Path,
    *,
    snapshotter: str,
    writable: bool = False,
    platform: Platform | None = None,
) -> None:
    """Have the image's files at `target`, an empty folder; what is written stays until it is unmounted.

    Raises FailedPrecondition for a folder that is not empty, AlreadyExists for one that has an image,
    PermissionDenied for who may not mount.
    """
    where = str(target.absolute())
    image = await resolve(client, await find(client, name), platform)
    try:
        await client.leases.create(where, {LABEL: snapshotter})
    except AlreadyExists as error:
        raise AlreadyExists(f"{where}: an image is mounted there (`corten image unmount {where}`)") from error
    try:
        await asyncio.to_thread(_check, target)
        held = client.scoped(lease=where)
        await unpack(held, image, snapshotter)
        snapshots = held.snapshots(snapshotter)
        mounts = await (snapshots.prepare if writable else snapshots.view)(where, image.top)
        await asyncio.to_thread(_mount, mounts, where)
    except BaseException:
        await asyncio.shield(_forget(client, where, snapshotter))
        raise


async def unmount(client: Client, target: Path) -> None:
    """Raises NotFound if no image is mounted there."""
    where = str(target.absolute())
    lease = next((each for each in await client.leases.list() if each.id == where and LABEL in each.labels), None)
    if lease is None:
        raise NotFound(f"{where}: `corten image mount` mounted nothing there")
    await asyncio.to_thread(_unmount, where)
    await _forget(client, where, lease.labels[LABEL])


async def _forget(client: Client, key: str, snapshotter: str) -> None:
    with suppress(NotFound):
        await client.snapshots(snapshotter).remove(key)
    with suppress(NotFound):
        await client.leases.remove(key, Resource(key, f"snapshots/{snapshotter}"))
    with suppress(NotFound):
        await client.leases.delete(key)


def _check(target: Path) -> None:
    if not target.is_dir():
        raise InvalidArgument(f"{target}: it is no folder to mount on")
    if any(target.iterdir()):
        raise FailedPrecondition(f"{target}: it is not empty")


def _mount(mounts: Sequence[Mount], where: str) -> None:
    from corten.linux.mount import mount_all

    mount_all(mounts, where)


def _unmount(where: str) -> None:
    from corten.linux.mount import unmount_all

    unmount_all(where)
