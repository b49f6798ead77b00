"""PullImage: by the daemon's transfer plugin; the same pull wanted twice at a time is done once."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from corten import platforms
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.metrics import Kind, Metric, Sample
from corten.contracts.transfer import RegistryImage, StoreImage, Unpack
from corten.errors import DeadlineExceeded, InvalidArgument
from corten.references import Reference
from corten.supervisor import Supervisor
from corten.tallies import Tally
from corten.values import dataclass

from ..config.images import ImagesConfig
from . import names
from .catalog import SCOPE, Images
from .logins import asking
from .stall import Stall
from .transfers import Transfers

log = logging.getLogger(__name__)

LONGEST_LOOK = 10.0
"""Seconds between two looks at whether a pull gets on."""
_HANDLER = "io.containerd.cri.runtime-handler"


@dataclass(frozen=True, slots=True)
class _Pull:
    """What makes two pulls the same: never with the credentials of another."""

    reference: str
    snapshotter: str
    platform: str
    auth: bytes | None


class Pulls:
    """Those under way; a pull goes on to its end when those who asked for it go away."""

    def __init__(
        self,
        images: Images,
        transfers: Transfers,
        supervisor: Supervisor,
        config: ImagesConfig,
        host_folders: str = "",
    ) -> None:
        """`host_folders` are those of host directories, separated by colons."""
        self._host_folders = host_folders
        self._images = images
        self._transfers = transfers
        self._supervisor = supervisor
        self._config = config
        self._under_way: dict[_Pull, asyncio.Future[str]] = {}
        self._ends = Tally(
            "containerd_cri_sandboxed_image_pulls_total", "Pulls of the kubelet by how they ended.", ("status",)
        )

    async def pull(
        self,
        image: str,
        auth: pb.AuthConfig | None = None,
        handler: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Have the image, unpacked; returns its id. `annotations` are those of the pod it is for.

        Raises InvalidArgument, what the registry's client raises, DeadlineExceeded when no byte came for long.
        """
        if not image:
            raise InvalidArgument("pull: the request names no image")
        reference = names.parse(image)
        handler = handler or (annotations or {}).get(_HANDLER, "")
        chosen = self._config.runtime_platforms.get(handler)
        wanted = _Pull(
            str(reference),
            self._images.snapshotter(handler),
            chosen.platform if chosen else "",
            None if auth is None else auth.SerializeToString(deterministic=True),
        )
        work = self._under_way.get(wanted)
        if work is None:
            operation = self._supervisor.operation(f"pull {reference}", self._pull(reference, wanted, auth))
            work = self._under_way[wanted] = asyncio.ensure_future(operation)
            work.add_done_callback(lambda done: self._ended(wanted, done))
        return await asyncio.shield(work)

    def metrics(self) -> Sequence[Metric]:
        """Under containerd's names."""
        name = "containerd_cri_sandboxed_in_progress_image_pulls_total"
        now = Metric(name, "Pulls of the kubelet now.", Kind.GAUGE, [Sample(len(self._under_way))])
        return [now, self._ends.metric()]

    def _ended(self, wanted: _Pull, done: "asyncio.Future[str]") -> None:
        self._under_way.pop(wanted, None)
        self._ends.add("failure" if done.cancelled() or done.exception() else "success")
        if not done.cancelled() and (error := done.exception()):
            log.info("pull of %s failed: %s", wanted.reference, error)

    async def _pull(self, reference: Reference, wanted: _Pull, auth: pb.AuthConfig | None) -> str:
        registry = self._config.registry
        platform = platforms.parse(wanted.platform) if wanted.platform else platforms.host()
        source = RegistryImage(
            wanted.reference,
            headers={name: ", ".join(values) for name, values in registry.headers.items()},
            host_dir=self._host_folders,
            ask=asking(auth, registry),
        )
        destination = StoreImage(
            wanted.reference,
            labels=self._images.labels(wanted.reference),
            platforms=(platform,),
            manifest_limit=1,
            unpacks=(Unpack(platform, wanted.snapshotter),),
        )
        await self._watched(source, destination)
        await self._images.refresh(wanted.reference)
        image = await self._images.find(wanted.reference)
        for name in (image.id, *names.of_pulled(reference, image.target.digest)):
            await self._images.save(name, image)
        if self._config.discard_unpacked_layers:
            await self._images.discard_layers(image)
        log.info("pulled %s: image %s, %d bytes", reference, image.id, image.size)
        return image.id

    async def _watched(self, source: RegistryImage, destination: StoreImage) -> None:
        """The transfer, given up when it does not get on."""
        stall, timeout = Stall(), self._config.image_pull_progress_timeout
        look = min(LONGEST_LOOK, timeout / 4) if timeout > 0 else None
        work = asyncio.create_task(self._transfers.run(SCOPE, source, destination, stall.show), name=str(source))
        try:
            while not (await asyncio.wait({work}, timeout=look))[0]:
                if stall.idle > timeout:
                    raise DeadlineExceeded(
                        f"pull of {source.reference}: no byte has come for {stall.idle:.0f} s and it is given up "
                        "(image_pull_progress_timeout); what came before is kept for the next try"
                    )
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        await work
