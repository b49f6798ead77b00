"""The images that CRI shows: an index in memory that follows the store, whoever changes it.

In the process, container creation uses it so:

    image = await images.find("busybox")                      # by name, id, or the beginning of an id
    mounts = await images.prepare(scope, image, container_id)  # a snapshot on top of it, unpacked if need be
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial

from corten import platforms
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.content import ContentStore
from corten.contracts.events import Exchange
from corten.contracts.metadata import ImageStore, Metadata
from corten.contracts.mounts import Mount
from corten.contracts.objects import Image
from corten.contracts.scope import Scope
from corten.contracts.transfer import StoreImage, TransferProgress, Unpack
from corten.errors import AlreadyExists, CortenError, NotFound, ResourceExhausted
from corten.events.envelopes import unpacked
from corten.platforms import Platform
from corten.pools import Pools
from corten.supervisor import Supervisor

from ..config.images import ImagesConfig
from . import names
from .image import MANAGED, PINNED, CriImage
from .index import ImageIndex
from .reading import read, release_layers
from .transfers import Transfers

log = logging.getLogger(__name__)

SCOPE = Scope("k8s.io")
_FILTER = f"namespace=={SCOPE.namespace},topic~=^/images/"


class Images:
    """Used on the event loop; `start` begins to follow the store, and whoever asks before it was read waits."""

    def __init__(
        self,
        metadata: Metadata,
        exchange: Exchange,
        transfers: Transfers,
        pools: Pools,
        supervisor: Supervisor,
        config: ImagesConfig,
    ) -> None:
        self._metadata = metadata
        self._exchange = exchange
        self._transfers = transfers
        self._pools = pools
        self._supervisor = supervisor
        self._config = config
        self._store: ImageStore = metadata.images(SCOPE)
        self._content: ContentStore = metadata.content(SCOPE)
        self._index = ImageIndex()
        self._read = asyncio.Event()
        self._of_handlers: dict[str, str] = {}
        configured = [each.platform for each in config.runtime_platforms.values() if each.platform]
        self._platforms: Sequence[Platform] = (platforms.host(), *map(platforms.parse, configured))

    def __repr__(self) -> str:
        return f"Images({self._index!r})"

    async def start(self) -> None:
        """Read the store, in the background, and follow it."""
        self._supervisor.job("cri: images follow the store", self._follow)

    async def list(self) -> list[CriImage]:
        """All of them, each once."""
        await self._read.wait()
        return list(self._index)

    def message(self, image: CriImage) -> pb.Image:
        """What the kubelet is told of an image; not to be changed."""
        return self._index.message(image)

    async def find(self, text: str) -> CriImage:
        """By name (short forms too), id, or the beginning of an id. Raises NotFound, InvalidArgument if ambiguous."""
        await self._read.wait()
        if names.is_id(text):
            return self._index.by_id(text)
        try:
            if (image := self._index.by_name(str(names.parse(text)))) is not None:
                return image
        except CortenError:
            pass
        if not names.may_be_id(text):
            raise NotFound(f"image {text[:300]!r}: there is none (pull it)")
        return self._index.by_id(text)

    def known(self, id: str) -> CriImage | None:
        """By whole id, of what was read so far; for those who cannot wait."""
        return self._index.known(id)

    def use(self, handler: str, snapshotter: str) -> None:
        """The images of a runtime handler are unpacked with this snapshotter, unless the settings say another."""
        self._of_handlers[handler] = snapshotter

    async def refresh(self, name: str) -> None:
        """Look at a name in the store now. Raises what reading the image raises; the name is then not shown."""
        while True:
            try:
                record = self._store.get(name)
            except NotFound:
                self._index.drop(name)
                return
            known = self._index.record(name)
            if known is None or known.target.digest != record.target.digest or known.labels != record.labels:
                same = self._index.of_target(record.target.digest)
                try:
                    if same is None:
                        same = await self._pools.run("content", self._image, record)
                    image = same.recorded(record, pinned=name in self._config.pinned_images.values())
                except CortenError:
                    self._index.drop(name)
                    raise
                if not self._is(record):  # it was changed while it was read
                    continue
                self._index.put(name, image)
            return

    async def save(self, name: str, image: CriImage) -> None:
        """Let a name point to where the image is, marked as CRI's own."""
        record = Image(name, image.target, self.labels(name))
        await self._pools.run("metadata", _put, self._store, record)
        await self.refresh(name)

    async def remove(self, name: str) -> None:
        """Take a name from the store; harmless if it is gone."""
        try:
            await self._pools.run("metadata", self._store.delete, name)
        except NotFound:
            log.debug("image %s: the name was gone", name)
        await self.refresh(name)

    def labels(self, name: str) -> dict[str, str]:
        """What the record of a name is labelled with."""
        pinned = dict([PINNED]) if name in self._config.pinned_images.values() else {}
        return {**dict([MANAGED]), **pinned}

    def snapshotter(self, handler: str = "") -> str:
        """Id of the snapshotter for a runtime handler."""
        chosen = self._config.runtime_platforms.get(handler)
        own = chosen.snapshotter if chosen else ""
        return own or self._of_handlers.get(handler) or self._config.snapshotter

    async def is_unpacked(self, image: CriImage, snapshotter: str = "") -> bool:
        """Whether all layers are there as snapshots."""
        store = self._metadata.snapshotter(SCOPE, snapshotter or self._config.snapshotter)
        try:
            await self._pools.run("snapshots", store.stat, image.chain_id)
        except NotFound:
            return False
        return True

    async def prepare(
        self,
        scope: Scope,
        image: CriImage,
        key: str,
        snapshotter: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        readonly: bool = False,
    ) -> Sequence[Mount]:
        """A snapshot `key` on top of the image, which is unpacked first if it is not (it was imported, say).

        Raises AlreadyExists for the key, and what unpacking raises.
        """
        chosen = snapshotter or self._config.snapshotter
        store = self._metadata.snapshotter(scope, chosen)
        make = partial(store.view if readonly else store.prepare, key, image.chain_id, labels)
        try:
            return await self._pools.run("snapshots", make)
        except NotFound:
            if not image.chain_id:
                raise
        await self.unpack(image, chosen)
        return await self._pools.run("snapshots", make)

    async def unpack(self, image: CriImage, snapshotter: str) -> None:
        """Have the layers as snapshots, from the content that is in the store. Raises NotFound if it is not."""
        name = image.references[0]
        there = StoreImage(name, unpacks=(Unpack(snapshotter=snapshotter),))
        await self._transfers.run(SCOPE, StoreImage(name), there, _unheard)

    async def discard_layers(self, image: CriImage) -> None:
        """Let gc remove the blobs of the layers, unless something else holds them."""
        await self._pools.run("metadata", release_layers, self._content, image.manifest)

    async def _follow(self) -> None:
        while True:
            async with aclosing(self._exchange.subscribe([_FILTER])) as events:
                await self._read_all()
                try:
                    async for envelope in events:
                        name = getattr(unpacked(envelope.event), "name", "")
                        if name:
                            await self._look(name)
                except ResourceExhausted:
                    log.info("images: too many changes at once; the store is read anew")

    async def _read_all(self) -> None:
        seen = set()
        async for page in self._pools.iterate("metadata", self._store.walk):
            for record in page:
                seen.add(record.name)
                await self._look(record.name)
        for name in self._index.names:
            if name not in seen:
                await self._look(name)
        self._read.set()

    async def _look(self, name: str) -> None:
        try:
            if not await self._manage(name):
                await self.refresh(name)
        except CortenError as error:
            self._index.drop(name)
            log.debug("image %s: it is not shown: %s", name, error)

    async def _manage(self, name: str) -> bool:
        """Other clients' images become CRI's too: named by their id, and labelled, before they are shown."""
        try:
            record = self._store.get(name)
        except NotFound:
            return False
        if not self.labels(name).items() - record.labels.items():
            return False
        image = await self._pools.run("content", self._image, record)
        for each in (image.id, name):
            await self.save(each, image)
        return True

    def _image(self, record: Image) -> CriImage:
        for platform in self._platforms[:-1]:
            try:
                return read(self._content, record, platform)
            except NotFound:
                continue
        return read(self._content, record, self._platforms[-1])

    def _is(self, record: Image) -> bool:
        try:
            now = self._store.get(record.name)
        except NotFound:
            return False
        return now.target.digest == record.target.digest and now.labels == record.labels


def _unheard(progress: TransferProgress) -> None:
    """Nobody is told."""


def _put(store: ImageStore, image: Image) -> None:
    """Made, or changed where it differs. Blocks."""
    while True:
        try:
            store.create(image)
        except AlreadyExists:
            try:
                known = store.get(image.name)
                if known.target.digest != image.target.digest or image.labels.items() - known.labels.items():
                    store.update(image, ("target", *(f"labels.{key}" for key in image.labels)))
            except NotFound:  # removed in between
                continue
        return
