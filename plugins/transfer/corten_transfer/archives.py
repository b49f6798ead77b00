"""Archive to store, and store to archive: tar streams that the client sends or receives."""

import asyncio
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from corten import platforms
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.contracts.scope import Scope
from corten.contracts.transfer import ByteReader, ExportArchive, ImportArchive, StoreImage, Unpack
from corten.errors import Cancelled, InvalidArgument, NotFound
from corten.oci_image import documents, media_types
from corten.registry.archive import taken_in
from corten.registry.contents import TakenIn
from corten.registry.export import ExportOptions, Named, export
from corten.registry.tree import FetchedManifest

from . import naming
from .leased import leased
from .parts import Parts
from .pulling import to_unpack
from .recompressing import recompress
from .reporting import Report
from .unpacking import AllThere, Unpacking

MAX_DEPTH = 4
"""Indexes within indexes that are looked through for what to unpack."""


class BlockingReader:
    """A `ByteReader` of the event loop as a blocking file, for a thread of a pool; `stop` wakes who waits in it."""

    def __init__(self, stream: ByteReader, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._rest = b""
        self._waiting: Future[bytes] | None = None
        self._stopped = False

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer when there are fewer for now; none at the end. Raises Cancelled once stopped."""
        if not self._rest:
            self._rest = self._next()
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def stop(self) -> None:
        """No more is read; on the event loop."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _next(self) -> bytes:
        self._waiting = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            return self._waiting.result()
        except CancelledError:
            raise Cancelled("import: it was given up while it waited for the archive") from None

    async def _read(self) -> bytes:
        if self._stopped:
            raise Cancelled("import: it was given up")
        return await self._stream.read()


async def take_in(parts: Parts, scope: Scope, source: ImportArchive, destination: StoreImage, report: Report) -> None:
    """Store the images of an archive, unpack and name them as asked. Raises NotFound if none of them gets a name."""
    report.say("Importing")
    async with leased(parts, scope) as held:
        taken = await _stored(parts, held, source, destination)
        names = [(taken.index, naming.whole(destination, taken.index))]
        found_in = [(target, naming.imported(destination, target)) for target in taken.targets]
        naming.check_apart(found_in)
        names += found_in
        if not any(found for _, found in names):
            raise NotFound("import: none of the archive's images gets a name (ask for one with a prefix or a name)")
        for target, found in names:
            for name in found:
                await parts.verifiers.check(name, target)
        for wanted in destination.unpacks:
            for target in taken.targets:
                await unpack_stored(parts, held, target, wanted, report)
        for target, found in names:
            await naming.save(parts, held, found, target, destination)
    report.say("Completed import")
    for target, found in names:
        for name in found:
            report.say("saved", name, target)


async def _stored(parts: Parts, scope: Scope, source: ImportArchive, destination: StoreImage) -> TakenIn:
    async def compress(layer: Descriptor) -> Descriptor:
        return await recompress(parts.pools, parts.metadata.content(scope), layer, "gzip")

    file = BlockingReader(source.stream, asyncio.get_running_loop())
    try:
        return await taken_in(
            file,
            parts.sink(scope),
            run=parts.wait_for_client,
            compress=compress if source.force_compress else None,
            platforms=destination.platforms,
        )
    finally:
        file.stop()


async def give_out(parts: Parts, scope: Scope, source: StoreImage, destination: ExportArchive, report: Report) -> None:
    """Write the images that the source names. Raises NotFound, before anything is sent, for content that is missing."""
    report.say("Exporting")
    try:
        async with leased(parts, scope) as held:
            images = [await _image(parts, held, name) for name in _names(source)]
            wanted = destination.platforms or source.platforms or (platforms.host(),)
            options = ExportOptions(
                platforms=() if destination.all_platforms else wanted,
                host=wanted[0],
                docker=not destination.skip_compatibility_manifest,
                skip_non_distributable=destination.skip_non_distributable,
            )
            named = [Named(image.name, image.target) for image in images]
            await export(parts.source(held), named, options, destination.stream)
    finally:
        await destination.stream.close()
    report.say("Completed export")


async def give_back(source: ImportArchive, destination: ExportArchive) -> None:
    """Send the client its own bytes: whether streams work both ways can be tried without a store."""
    try:
        while data := await source.stream.read():
            await destination.stream.write(data)
    finally:
        await destination.stream.close()


def _names(source: StoreImage) -> list[str]:
    if any(reference.is_prefix for reference in source.references):
        raise InvalidArgument("export: images are exported by their names, not by prefixes")
    names = [source.name] if source.name else []
    return list(dict.fromkeys([*names, *(reference.name for reference in source.references)]))


async def _image(parts: Parts, scope: Scope, name: str) -> Image:
    return await parts.pools.run("metadata", parts.metadata.images(scope).get, name)


async def unpack_stored(parts: Parts, scope: Scope, target: Descriptor, wanted: Unpack, report: Report) -> None:
    """Unpack the image in `target` that is for the platform, if there is one and its content is here."""
    snapshotter = wanted.snapshotter or parts.config.default_snapshotter
    images = await _manifests(parts, scope, target, 0)
    for image in to_unpack(images, replace(wanted, snapshotter=snapshotter)):
        await Unpacking(parts, scope, snapshotter, report).unpack(image, AllThere())


async def _manifests(parts: Parts, scope: Scope, target: Descriptor, depth: int) -> list[FetchedManifest]:
    """The images below a target whose documents are here."""
    kind, source = media_types.kind(target.media_type), parts.source(scope)
    if depth > MAX_DEPTH or kind not in ("index", "manifest"):
        return []
    try:
        data = await source.read(target.digest, documents.MAX_SIZE)
        if kind == "manifest":
            manifest = documents.manifest(data, target.media_type, target.digest)
            if media_types.kind(manifest.config.media_type) != "config":
                return []
            config = await source.read(manifest.config.digest, documents.MAX_SIZE)
            return [FetchedManifest(target, manifest, documents.config(config, manifest.config.digest))]
    except NotFound:  # for another platform, and left out of the archive
        return []
    entries = documents.index(data, target.media_type, target.digest).entries
    below = [
        await _manifests(parts, scope, entry.descriptor, depth + 1) for entry in entries if not entry.is_attestation
    ]
    return [image for images in below for image in images]
