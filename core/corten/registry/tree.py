"""The documents of an image, from a registry into a sink: the indexes, and the manifests for the platforms wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING

from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, legacy, media_types
from corten.oci_image.model import ImageConfig, Index, IndexEntry, Manifest
from corten.oci_image.unpack import unpackable
from corten.platforms import Platform, best, host, rank
from corten.references import Reference
from corten.values import dataclass

from .copying import add_labels, copy_blob, open_writer
from .progress import Progress, Show, State, ignore
from .sink import BlobSink, write_whole

if TYPE_CHECKING:  # what a pull needs of HTTP is not imported before there is one
    from .client import RegistryClient

MAX_NESTING = 4
"""Indexes within indexes."""
UNSURE = 1 << 10
"""The rank of an image that may not be for the platform, worse than any other."""

Found = Callable[[Descriptor, Sequence[Descriptor]], None]
"""Told of each document and its children before these are fetched."""


def nobody(parent: Descriptor, children: Sequence[Descriptor]) -> None:
    """For callers who do not want to know."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images of an index: the best for each platform, all if none is named; `limit` of them, 0: no limit.

    `all_metadata`: manifests and configs of the others too. `artifacts`: what is no container image may come.
    """

    platforms: tuple[Platform, ...] = ()
    all_metadata: bool = False
    limit: int = 0
    artifacts: bool = False


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest in the sink, its config too, of an image or, without `config`, of an artifact.

    `whole`: its layers are wanted as well. `platform` is what the index above says it is for; `alone`: it is not below
    an index.
    """

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig | None
    whole: bool = True
    platform: Platform | None = None
    alone: bool = False

    def rank(self, wanted: Platform) -> int | None:
        """How well the image runs on a platform, as `platforms.rank`: what its index says counts, else its config.

        One that stands alone is taken as it is for this host, and for any platform if its config names none.
        """
        made_for = self.platform or (self.config.platform if self.config else Platform("", ""))
        found = rank(wanted, made_for)
        unnamed = not (made_for.os and made_for.architecture)
        return UNSURE if found is None and self.alone and (unnamed or wanted == host()) else found


def select(index: Index, wanted: Wanted, what: str) -> tuple[list[IndexEntry], list[IndexEntry]]:
    """The entries to have whole, and those of which the metadata is to be had.

    Raises NotFound, naming the platforms that there are, if nothing fits.
    """
    if not wanted.platforms:
        chosen = list(index.entries)
    else:
        images = [entry for entry in index.entries if _is_image(entry)]
        fitting = [best(platform, [(e.platform, e) for e in images if e.platform]) for platform in wanted.platforms]
        chosen = list({entry.descriptor.digest: entry for entry in fitting if entry is not None}.values())
        chosen = chosen or [entry for entry in images if entry.platform is None]
        if not chosen:
            offered = ", ".join(str(entry.platform) for entry in images) or "none"
            asked = ", ".join(map(str, wanted.platforms))
            raise NotFound(f"{what}: there is no image for {asked}, only for: {offered}")
    whole = chosen[: wanted.limit] if wanted.limit else chosen
    return whole, [entry for entry in index.entries if entry not in whole] if wanted.all_metadata else []


def _is_image(entry: IndexEntry) -> bool:
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    return media_types.kind(entry.descriptor.media_type) in ("index", "manifest") and not (
        entry.is_attestation or unknown
    )


@dataclass(slots=True)
class Documents:
    """One image on its way: its documents are fetched, checked, stored and labelled for gc."""

    registry: RegistryClient
    reference: Reference
    sink: BlobSink
    show: Show = ignore
    found: Found = nobody
    _seen: set[str] = field(default_factory=set)

    async def fetch(self, target: Descriptor, wanted: Wanted) -> list[FetchedManifest]:
        """The manifests for `wanted` below `target`, base of the document tree first.

        Raises NotFound if there is none, InvalidArgument for what is malformed, and the errors of the registry.
        """
        if target.media_type in media_types.SCHEMA_1:
            raise InvalidArgument(
                f"image {self.reference}: it is of docker's schema 1, which is no longer supported "
                "(convert it: skopeo copy --format oci)"
            )
        fetched = await self._below(IndexEntry(target), wanted, whole=True, depth=0)
        if not any(each.whole for each in fetched):
            raise NotFound(f"image {self.reference}: its index names no image")
        return fetched

    async def _below(self, entry: IndexEntry, wanted: Wanted, *, whole: bool, depth: int) -> list[FetchedManifest]:
        target = entry.descriptor
        if depth >= MAX_NESTING:
            raise InvalidArgument(f"image {self.reference}: indexes are nested more than {MAX_NESTING} deep")
        if target.digest in self._seen:
            return []
        self._seen.add(target.digest)
        what = f"{media_types.kind(target.media_type)} {target.digest} of {self.reference}"
        data = await self._document(target)
        if media_types.kind(target.media_type) != "index":
            fetched = await self._manifest(target, data, what, wanted, whole=whole)
            return [replace(fetched, platform=entry.platform, alone=not depth)]
        index = documents.index(data, target.media_type, what)
        await self.store(target, data, [entry.descriptor for entry in index.entries])
        chosen, others = select(index, wanted, what)
        self.found(target, [entry.descriptor for entry in (*chosen, *others)])
        found = []
        for each in chosen:
            found += await self._entry(each, wanted, whole=whole, depth=depth + 1)
        for each in others:
            with suppress(NotFound):  # registries may lack what their indexes name for others
                found += await self._entry(each, wanted, whole=False, depth=depth + 1)
        return found

    async def _entry(self, entry: IndexEntry, wanted: Wanted, *, whole: bool, depth: int) -> list[FetchedManifest]:
        """What an index names may also be something else, which is stored as it is if it is wanted whole."""
        target = entry.descriptor
        if media_types.kind(target.media_type) in ("index", "manifest"):
            return await self._below(entry, wanted, whole=whole, depth=depth)
        if whole:
            await copy_blob(self.registry, self.reference, target, self.sink, {}, self.show)
        return []

    async def _manifest(
        self, target: Descriptor, data: bytes, what: str, wanted: Wanted, *, whole: bool
    ) -> FetchedManifest:
        manifest = documents.manifest(data, target.media_type, what)
        children = (manifest.config, *manifest.layers)
        await self.store(target, data, children)
        self.found(target, children if whole else children[:1])
        return FetchedManifest(target, manifest, await self._config(manifest, wanted), whole)

    async def _config(self, manifest: Manifest, wanted: Wanted) -> ImageConfig | None:
        """Store the config, and read it if it is one of a container image."""
        descriptor = manifest.config
        image = media_types.kind(descriptor.media_type) == "config"
        if not image and not wanted.artifacts:
            raise InvalidArgument(
                f"{self.reference}: it is not a container image: its config is {descriptor.media_type[:200]!r}"
            )
        if descriptor.size > documents.MAX_SIZE:
            raise InvalidArgument(f"image {self.reference}: its config has {descriptor.size} bytes")
        await copy_blob(self.registry, self.reference, descriptor, self.sink, {}, self.show)
        if not image and not legacy.may_be_image(manifest):
            return None
        data = await self.sink.read(descriptor.digest, documents.MAX_SIZE)
        try:
            config = documents.config(data, f"config {descriptor.digest} of {self.reference}")
        except InvalidArgument:
            if image:
                raise
            return None  # it is something else, which has that media type rightly
        return config if image or config.diff_ids else None

    async def _document(self, target: Descriptor) -> bytes:
        """From the store if it is there, else from the registry."""
        try:
            return await self.sink.read(target.digest, documents.MAX_SIZE)
        except NotFound:
            return await self.registry.manifest(self.reference, target)

    async def store(self, target: Descriptor, data: bytes, children: Sequence[Descriptor]) -> None:
        """A document with the labels that keep its children."""
        labels = gc_labels.of_children(children)
        source = gc_labels.of_source(self.reference.host, self.reference.path)
        writer = await open_writer(self.sink, target)
        kind = media_types.kind(target.media_type)
        if writer is None:
            await add_labels(self.sink, target.digest, labels, self.reference)
            return self.show(Progress(target.digest, kind, target.size, target.size, State.EXISTS))
        try:
            async with writer:
                await write_whole(writer, data)
                await writer.commit(len(data), target.digest, {**labels, **source})
        except AlreadyExists:
            await add_labels(self.sink, target.digest, labels, self.reference)
        except FailedPrecondition as error:
            await self.sink.abort(media_types.ref_key(target.media_type, target.digest))
            raise DataLoss(
                f"{kind} {target.digest}: an earlier pull left other bytes, now dropped (pull again)"
            ) from error
        return self.show(Progress(target.digest, kind, target.size, target.size, State.DONE))


def check(reference: Reference, fetched: FetchedManifest, platforms: Sequence[Platform]) -> ImageConfig:
    """Before the layers are fetched: do the documents agree, and is the image for one of these platforms?

    Raises InvalidArgument, NotFound.
    """
    if fetched.config is None:
        raise InvalidArgument(f"{reference}: it is not a container image")
    try:
        unpackable(fetched.manifest.layers, fetched.config.diff_ids)
    except InvalidArgument as error:
        raise InvalidArgument(f"image {reference}: {error.message}") from None
    made_for = fetched.platform or fetched.config.platform
    if platforms and made_for.os and all(fetched.rank(wanted) is None for wanted in platforms):
        raise NotFound(
            f"image {reference}: there is no image for {', '.join(map(str, platforms))}, only for: {made_for}"
        )
    return fetched.config
