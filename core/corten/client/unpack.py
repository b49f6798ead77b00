"""Unpacking: the layers of an image become committed snapshots, by the plan of `corten.oci_image.unpack`."""

from contextlib import suppress

from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, CortenError, DataLoss, NotFound
from corten.messages import decryption
from corten.oci_image import gc_labels
from corten.oci_image.unpack import UnpackStep, plan
from corten.registry.pull import Stored

from .client import Client
from .image import Resolved
from .progress import Progress, ignored
from .snapshots import Snapshots


async def is_unpacked(client: Client, image: Resolved, snapshotter: str) -> bool:
    """Whether a container could be made from the image at once."""
    return not image.top or await _exists(client.snapshots(snapshotter), image.top)


async def _at_once(layer: Descriptor) -> None:
    """The layer is there."""


async def unpack(
    client: Client, image: Resolved, snapshotter: str, progress: Progress = ignored, stored: Stored = _at_once
) -> None:
    """Unpack what is not yet unpacked; `stored` waits until a layer is in the content store.

    The config blob is labelled so that the snapshots live as long as it. Raises DataLoss for a layer whose content
    is not what the config promises, and the errors of the differ and the snapshotter.
    """
    async with client.leased() as leased:
        snapshots = leased.snapshots(snapshotter)
        for step in plan(image.manifest.layers, image.config.diff_ids):
            if not await _exists(snapshots, step.chain_id):
                await stored(step.layer)
                progress(f"unpack {step.layer.digest}", 0, step.layer.size)
                await _layer(leased, snapshots, step)
            progress(f"unpack {step.layer.digest}", step.layer.size, step.layer.size)
        if image.top:
            await leased.content.label(image.manifest.config.digest, gc_labels.of_unpacked(snapshotter, image.top))


async def _layer(client: Client, snapshots: Snapshots, step: UnpackStep) -> None:
    try:
        mounts = await snapshots.prepare(step.key, step.parent, step.labels)
    except AlreadyExists:  # a snapshotter that has the layer already, remotely say, answers so
        if await _exists(snapshots, step.chain_id):
            return
        raise
    done = False
    try:
        applied = await client.diff.apply(step.layer, mounts, payloads=decryption.payloads(step.layer))
        if applied.digest != step.diff_id:
            raise DataLoss(
                f"layer {step.layer.digest}: unpacks to {applied.digest}, but the image's config says {step.diff_id}"
            )
        done = await _commit(snapshots, step)
    finally:
        if not done:
            with suppress(CortenError):
                await snapshots.remove(step.key)
    await client.content.label(step.layer.digest, step.layer_labels)


async def _commit(snapshots: Snapshots, step: UnpackStep) -> bool:
    """False if another client was faster: its snapshot is as good."""
    try:
        await snapshots.commit(step.chain_id, step.key, step.labels)
    except AlreadyExists:
        return False
    return True


async def _exists(snapshots: Snapshots, name: str) -> bool:
    try:
        await snapshots.stat(name)
    except NotFound:
        return False
    return True
