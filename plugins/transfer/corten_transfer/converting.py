"""Store to store: an image written otherwise, its layers side by side, each once."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.contracts.scope import Scope
from corten.contracts.transfer import ConvertedImage, StoreImage
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import conversion, documents, media_types
from corten.registry.progress import Progress, State
from corten.registry.sink import store_document
from corten.registry.tree import MAX_NESTING, Wanted, select

from . import naming
from .leased import leased
from .parts import Parts
from .recompressing import recompress
from .reporting import Report


async def convert(parts: Parts, scope: Scope, source: StoreImage, destination: ConvertedImage, report: Report) -> None:
    """Have the image under the destination's names, written as asked. Raises NotFound for content that is missing."""
    conversion.check(destination.compression)
    image = await parts.pools.run("metadata", parts.metadata.images(scope).get, source.name)
    report.say("Converting")
    report.root(image.name, image.target)
    async with leased(parts, scope) as held:
        work = _Conversion(parts, held, replace(destination, oci=_oci(destination)), report)
        target = await work.document(image.target, 0)
        names = naming.pulled(destination.store, target)
        await naming.save(parts, held, names, target, destination.store)
    report.done("Completed conversion", "saved", names, target)


def _oci(wanted: ConvertedImage) -> bool:
    """docker has no media type for zstd that every reader knows."""
    return wanted.oci or wanted.compression == "zstd"


@dataclass(slots=True)
class _Conversion:
    """Of one image; what is named twice is converted once."""

    parts: Parts
    scope: Scope
    wanted: ConvertedImage
    report: Report
    _made: dict[str, Descriptor] = field(default_factory=dict)
    """Converted layers by the digest of what they were."""

    async def document(self, target: Descriptor, depth: int) -> Descriptor:
        kind = media_types.kind(target.media_type)
        if kind not in ("index", "manifest") or depth > MAX_NESTING:
            raise InvalidArgument(f"image {target.digest}: {target.media_type[:200]!r} is nothing to convert here")
        data = await self._read(target, kind)
        made = await (self._index if kind == "index" else self._manifest)(target, data, depth)
        self._tell(target)
        return replace(made, annotations=target.annotations)

    async def _index(self, target: Descriptor, data: bytes, depth: int) -> Descriptor:
        what = f"index {target.digest}"
        index = documents.index(data, target.media_type, what)
        chosen, _ = select(index, Wanted(self.wanted.store.platforms), what)
        images = [entry for entry in chosen if not entry.is_attestation]
        self.report.found(target, [entry.descriptor for entry in images])
        raw = {entry["digest"]: entry for entry in documents.load(data, what)["manifests"]}
        children = [await self.document(entry.descriptor, depth + 1) for entry in images]
        entries = [
            {**raw[entry.descriptor.digest], **documents.as_document(child)}
            for entry, child in zip(images, children, strict=True)
        ]
        media_type = self._media_type(target)
        if children == [entry.descriptor for entry in index.entries] and media_type == target.media_type:
            return target
        made = conversion.index(documents.load(data, what), entries, media_type)
        return await self._store(media_type, made, children)

    async def _manifest(self, target: Descriptor, data: bytes, depth: int) -> Descriptor:
        what = f"manifest {target.digest}"
        manifest = documents.manifest(data, target.media_type, what)
        self.report.found(target, [manifest.config, *manifest.layers])
        await self._layers({layer.digest: layer for layer in manifest.layers}.values())
        layers = [self._of(layer) for layer in manifest.layers]
        config = self._typed(manifest.config)
        self._tell(manifest.config)
        media_type = self._media_type(target)
        if (media_type, config, layers) == (target.media_type, manifest.config, list(manifest.layers)):
            return target
        made = conversion.manifest(documents.load(data, what), config, layers, media_type)
        return await self._store(media_type, made, [config, *layers])

    async def _layers(self, layers: Iterable[Descriptor]) -> None:
        """Have each of them in `_made`."""
        try:
            async with asyncio.TaskGroup() as group:
                for layer in layers:
                    group.create_task(self._layer(layer), name=f"convert {layer.digest}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _layer(self, layer: Descriptor) -> None:
        if layer.digest not in self._made:
            change = bool(self.wanted.compression) and conversion.can_change(layer)
            self._made[layer.digest] = await self._recompressed(layer) if change else layer
        self._tell(layer)

    def _of(self, layer: Descriptor) -> Descriptor:
        made = self._made[layer.digest]
        kept = layer.annotations if made.digest == layer.digest else conversion.annotations(layer)
        return self._typed(replace(made, annotations=kept))

    async def _recompressed(self, layer: Descriptor) -> Descriptor:
        content = self.parts.metadata.content(self.scope)
        try:
            async with self.parts.conversions:
                return await recompress(self.parts.pools, content, layer, self.wanted.compression)
        except NotFound as error:
            raise NotFound(f"layer {layer.digest}: it is not in the content store (pull the image again)") from error

    async def _read(self, target: Descriptor, kind: str) -> bytes:
        try:
            return await self.parts.source(self.scope).read(target.digest, documents.MAX_SIZE)
        except NotFound as error:
            raise NotFound(
                f"{kind} {target.digest}: it is not in the content store (pull the image for all platforms, or name "
                "the platforms to convert)"
            ) from error

    async def _store(self, media_type: str, data: bytes, children: Sequence[Descriptor]) -> Descriptor:
        made = Descriptor(media_type, digests.of(data), len(data))
        await store_document(self.parts.sink(self.scope), made, data, children)
        return made

    def _media_type(self, target: Descriptor) -> str:
        return conversion.oci(target.media_type) if self.wanted.oci else target.media_type

    def _typed(self, blob: Descriptor) -> Descriptor:
        return replace(blob, media_type=self._media_type(blob))

    def _tell(self, item: Descriptor) -> None:
        kind = media_types.kind(item.media_type)
        self.report.blob(Progress(item.digest, kind, item.size, item.size, State.DONE))
