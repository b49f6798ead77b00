"""One blob from a registry into a sink, resumed where it broke off and begun anew if what was there was wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from corten import heap
from corten import labels as label_rules
from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, DataLoss, FailedPrecondition, Unavailable
from corten.oci_image import gc_labels, media_types
from corten.references import Reference

from .arrival import Arrival
from .progress import Progress, Show, State
from .sink import BlobSink, BlobWriter

if TYPE_CHECKING:  # what a pull needs of HTTP is not imported before there is one
    from .client import RegistryClient

MOVED_ON = 1 << 20
"""Bytes after which a broken connection counts as the first one again."""
HELD_PAUSE = 0.2
"""Seconds between looks whether another writer, who has the ref, is done."""


async def copy_blob(
    registry: RegistryClient,
    reference: Reference,
    descriptor: Descriptor,
    sink: BlobSink,
    labels: Mapping[str, str],
    show: Show,
    arrival: Arrival | None = None,
) -> None:
    """Have the blob in the sink, with `labels` and the label of its source; `arrival` is told as it comes.

    Raises DataLoss for bytes of another length or digest; the ingest is dropped then. On any other error it stays, to
    be resumed.
    """
    wanted = {**labels, **gc_labels.of_source(reference.host, reference.path)}
    arrival = arrival or Arrival(descriptor.digest)
    while True:
        writer = await open_writer(sink, descriptor)
        if writer is None:
            await add_labels(sink, descriptor.digest, labels, reference)
            return show(_progress(descriptor, descriptor.size, State.EXISTS))
        async with writer:
            resumed = 0 < writer.offset <= descriptor.size
            if writer.offset > descriptor.size:
                await writer.truncate()
            arrival.begin(writer.fileno())
            try:
                with heap.busy(descriptor.size):
                    await _fill(registry, reference, descriptor, _Behind(writer, arrival), show)
            finally:
                arrival.close()
            problem = await _commit(writer, descriptor, wanted)
        if problem is None:
            return show(_progress(descriptor, descriptor.size, State.DONE))
        await sink.abort(media_types.ref_key(descriptor.media_type, descriptor.digest))
        if not resumed:
            raise DataLoss(
                f"content {descriptor.digest} from {reference.host}: the bytes are others: {problem.message}"
            )


async def open_writer(sink: BlobSink, descriptor: Descriptor) -> BlobWriter | None:
    """The writer, waiting while another has the ref; None when the blob is there."""
    ref = media_types.ref_key(descriptor.media_type, descriptor.digest)
    while True:
        try:
            return await sink.writer(ref, descriptor.size, descriptor.digest, descriptor.media_type)
        except AlreadyExists:
            return None
        except Unavailable:
            # Held by another. A store that cannot be reached fails here; what has come by now is asked for again, as it
            # is the writer's refusal that brings it into the lease.
            await sink.exists(descriptor.digest)
            await asyncio.sleep(HELD_PAUSE)


async def add_labels(sink: BlobSink, digest: str, labels: Mapping[str, str], reference: Reference) -> None:
    """Give a blob that is there what a new one would have got; labels that it has already are not written again."""
    present = await sink.labels(digest)
    wanted = {**labels, **gc_labels.of_source(reference.host, reference.path, present)}
    if missing := {key: value for key, value in wanted.items() if present.get(key) != value}:
        label_rules.validate(missing)
        await sink.label(digest, missing)


class _Behind:
    """Writes one piece while the next is received."""

    def __init__(self, writer: BlobWriter, arrival: Arrival) -> None:
        self._writer = writer
        self._arrival = arrival
        self._writing: asyncio.Task[None] | None = None

    @property
    def offset(self) -> int:
        """Bytes that are written; all of them after `flush`."""
        return self._writer.offset

    async def write(self, data: bytes) -> None:
        """Take a piece. Raises what writing the one before it raised."""
        await self.flush()
        self._writing = asyncio.create_task(self._write(data))

    async def flush(self) -> None:
        """Wait until all is written. Raises what that raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _write(self, data: bytes) -> None:
        await self._writer.write(data)
        self._arrival.grew()


async def _fill(
    registry: RegistryClient, reference: Reference, descriptor: Descriptor, writer: _Behind, show: Show
) -> None:
    """Write what is missing, over as many connections as it takes."""
    pauses = registry.retry.pauses()
    since = writer.offset
    while writer.offset < descriptor.size:
        try:
            await _append(registry, reference, descriptor, writer, show)
        except Unavailable:
            if writer.offset - since >= MOVED_ON:
                pauses, since = registry.retry.pauses(), writer.offset
            if (pause := next(pauses, None)) is None:
                raise
            await asyncio.sleep(pause)


async def _append(
    registry: RegistryClient, reference: Reference, descriptor: Descriptor, writer: _Behind, show: Show
) -> None:
    offset = writer.offset
    show(_progress(descriptor, offset, State.FETCHING))
    try:
        async with aclosing(registry.fetch(reference, descriptor, offset)) as chunks:
            async for chunk in chunks:
                offset += len(chunk)
                if offset > descriptor.size:
                    raise DataLoss(
                        f"content {descriptor.digest}: the registry sends more than its {descriptor.size} bytes"
                    )
                await writer.write(chunk)
                show(_progress(descriptor, offset, State.FETCHING))
    finally:
        await writer.flush()
    if offset < descriptor.size:
        raise DataLoss(f"content {descriptor.digest}: the registry has {offset} bytes of its {descriptor.size}")


async def _commit(writer: BlobWriter, descriptor: Descriptor, labels: Mapping[str, str]) -> FailedPrecondition | None:
    """The error if the bytes are not those of the descriptor."""
    try:
        await writer.commit(descriptor.size, descriptor.digest, labels)
    except AlreadyExists:
        pass
    except FailedPrecondition as error:
        return error
    return None


def _progress(descriptor: Descriptor, offset: int, state: State) -> Progress:
    return Progress(descriptor.digest, media_types.kind(descriptor.media_type), offset, descriptor.size, state)
