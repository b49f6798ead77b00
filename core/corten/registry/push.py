"""The push: an image of a content store into a registry, children first, each blob only if it is not there.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push. A blob that the store knows from another
repository of the same registry is mounted from there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import takewhile

import aiohttp

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import Index, Manifest
from corten.platforms import Platform
from corten.references import Reference

from . import uploads
from .client import RegistryClient
from .connections import Request
from .endpoints import Endpoint
from .hosts_toml import PUSH
from .kept_referrers import MAX_CHAIN, kept, parsed
from .progress import Progress, Show, State, ignore
from .referrers_tag import enlist
from .source import BlobSource
from .tree import MAX_NESTING, Found, Wanted, nobody, select
from .uploads import Started, Upload

CONCURRENCY = 3
REMEDY = "pull the image with --all-platforms, or push one of its images with --platform"


async def push(
    registry: RegistryClient,
    reference: Reference,
    source: BlobSource,
    target: Descriptor,
    *,
    progress: Show = ignore,
    found: Found = nobody,
    slots: asyncio.Semaphore | None = None,
    platforms: Sequence[Platform] = (),
    referrers: Sequence[str] | None = None,
) -> None:
    """Have `target`, with all below it, in the registry under `reference`; of an index, all or those for `platforms`.

    `referrers`: those that the store keeps go up too, of these artifact types or, if none is named, of any.
    Layers that may not be passed on are left out if the store has not got them.
    Raises NotFound for content that the store lacks, DataLoss for stored bytes that are not what their digest says,
    FailedPrecondition for a registry that does not do as it should, and the errors of `RegistryClient.resolve`.
    """
    endpoint = (await registry.endpoints(reference.host, PUSH))[0]
    image = _Push(
        registry, endpoint, reference, source, progress, found, slots or asyncio.Semaphore(CONCURRENCY), platforms
    )
    await image.document(target, reference.tag or target.digest, 0)
    if referrers is not None:
        await image.referrers(referrers)


@dataclass(slots=True)
class _Push:
    """One push under way."""

    registry: RegistryClient
    endpoint: Endpoint
    reference: Reference
    source: BlobSource
    show: Show
    found: Found
    slots: asyncio.Semaphore
    platforms: Sequence[Platform] = ()
    pushed: dict[str, Descriptor] = field(default_factory=dict)
    """Indexes and manifests by their digests."""

    async def referrers(self, types: Sequence[str]) -> None:
        """What the store keeps for the documents that were pushed, and for those that this pushes."""
        subjects = list(self.pushed.values())
        self.platforms = ()
        for _ in range(MAX_CHAIN):
            found = [each for subject in subjects for each in await self._kept(subject, types)]
            subjects = [each for each in found if each.digest not in self.pushed]
            for each in subjects:
                await self.document(each, each.digest, 0)

    async def _kept(self, subject: Descriptor, types: Sequence[str]) -> list[Descriptor]:
        found = await kept(self.source, subject.digest)
        wanted = [each.descriptor for each in found if not types or each.artifact_type in types]
        self.found(subject, wanted)
        return wanted

    async def document(self, target: Descriptor, name: str, depth: int, origins: str = "") -> None:
        """An index or manifest, after what it names; `origins` are the repositories that what holds it came from."""
        kind = media_types.kind(target.media_type)
        if kind not in ("index", "manifest"):
            raise InvalidArgument(f"image {self.reference}: {target.media_type[:200]!r} is no image to push")
        if depth > MAX_NESTING:
            raise InvalidArgument(f"image {self.reference}: indexes are nested more than {MAX_NESTING} deep")
        what = f"{kind} {target.digest} of {self.reference}"
        data = await self._read(target, what)
        document = parsed(target, data, what)
        if isinstance(document, Index):
            chosen, _ = select(document, Wanted(tuple(self.platforms)), what)
            children = [entry.descriptor for entry in chosen]
        else:
            children = [*document.layers, document.config]
        self.found(target, children)
        origins = self._origins(await self.source.labels(target.digest)) or origins
        if kind == "index":
            for child in children:
                await self.document(child, child.digest, depth + 1, origins)
        else:
            await self._blobs(children, origins)
        await self._put_document(target, name, data, document)
        self.pushed[target.digest] = target

    async def _read(self, target: Descriptor, what: str) -> bytes:
        try:
            data = await self.source.read(target.digest, documents.MAX_SIZE)
        except NotFound as error:
            raise NotFound(f"{what}: it is not in the content store ({REMEDY})") from error
        if digests.of(data, digests.parse(target.digest)[0]) != target.digest:
            raise DataLoss(f"{what}: its bytes in the content store are others")
        return data

    async def _blobs(self, blobs: Sequence[Descriptor], origins: str) -> None:
        unique = list({blob.digest: blob for blob in blobs}.values())
        try:
            async with asyncio.TaskGroup() as group:
                for blob in unique:
                    self._tell(blob, 0, State.WAITING)
                    group.create_task(self._blob(blob, origins), name=f"push {blob.digest}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _blob(self, blob: Descriptor, origins: str) -> None:
        async with self.slots:
            if not media_types.is_distributable(blob.media_type) and not await self._is_here(blob):
                return self._tell(blob, blob.size, State.EXISTS)
            if await self._is_there(f"blobs/{blob.digest}"):
                return self._tell(blob, blob.size, State.EXISTS)
            upload = await self._begin(blob, origins)
            if upload is None:
                return self._tell(blob, blob.size, State.EXISTS)
            await self._upload(blob).run(upload)
            return self._tell(blob, blob.size, State.DONE)

    def _upload(self, blob: Descriptor) -> Upload:
        async def again() -> Started:
            return uploads.started(await self._post({}))

        def tell(offset: int) -> None:
            self._tell(blob, offset, State.FETCHING)

        return Upload(self.registry, self.endpoint, self.reference, self.source, blob, again, tell)

    async def _is_here(self, blob: Descriptor) -> bool:
        try:
            await self.source.labels(blob.digest)
        except NotFound:
            return False
        return True

    async def _is_there(self, path: str) -> bool:
        try:
            (await self.ask(Request("HEAD", self.reference, path, actions="pull,push"))).release()
        except NotFound:
            return False
        return True

    async def _begin(self, blob: Descriptor, origins: str) -> Started | None:
        """Where to upload to; None if the registry had the blob in another repository.

        What was not fetched, for other platforms say, is mounted from where the image came from; else it is missing.
        """
        try:
            origins, here = self._origins(await self.source.labels(blob.digest)), True
        except NotFound:
            here = False
        response = await self._mounted(blob, self._nearest(origins))
        if response is not None and response.status == 201:
            return None
        if not here:
            raise NotFound(f"image {self.reference}: its content {blob.digest} is not in the content store ({REMEDY})")
        return uploads.started(response or await self._post({}))

    async def _mounted(self, blob: Descriptor, origin: str) -> aiohttp.ClientResponse | None:
        """None if it cannot be had from another repository: who pushes need not be allowed to read that one."""
        if not origin:
            return None
        try:
            return await self._post({"mount": blob.digest, "from": origin}, (f"repository:{origin}:pull",))
        except (Unauthenticated, PermissionDenied, NotFound):
            return None

    async def _post(self, query: Mapping[str, str], scopes: tuple[str, ...] = ()) -> aiohttp.ClientResponse:
        request = Request("POST", self.reference, "blobs/uploads/", query=query, actions="pull,push", scopes=scopes)
        response = await self.ask(request)
        response.release()
        return response

    def _origins(self, labels: Mapping[str, str]) -> str:
        """The repositories of the same registry that content came from, by its labels, joined by commas."""
        (key,) = gc_labels.of_source(self.reference.host, self.reference.path)
        return labels.get(key, "")

    def _nearest(self, origins: str) -> str:
        """The one whose name is most like that of the repository that is pushed to; empty for none."""
        own = self.reference.path
        others = [path for path in origins.split(",") if path and path != own]
        return max(others, key=lambda path: _common(own, path), default="")

    async def _put_document(self, target: Descriptor, name: str, data: bytes, document: Index | Manifest) -> None:
        # What is about something else is sent even so: the answer says whether the registry lists it by itself.
        if not document.subject and name == target.digest and await self._is_there(f"manifests/{name}"):
            return self._tell(target, target.size, State.EXISTS)
        headers = {"Content-Type": target.media_type}
        request = Request(
            "PUT", self.reference, f"manifests/{name}", headers=headers, body=lambda: BytesIO(data), actions="pull,push"
        )
        response = await self.ask(request)
        response.release()
        stored = response.headers.get("Docker-Content-Digest", target.digest)
        if stored != target.digest:
            raise FailedPrecondition(f"image {self.reference}: the registry stored it under another digest, {stored}")
        if document.subject and not response.headers.get("OCI-Subject"):
            await enlist(self.registry, self.endpoint, self.reference, target, document)
        return self._tell(target, target.size, State.DONE)

    async def ask(self, request: Request) -> aiohttp.ClientResponse:
        """Of the host that is pushed to. Raises as `RegistryClient.resolve`."""
        return await self.registry.answer_of(self.endpoint, request)

    def _tell(self, blob: Descriptor, offset: int, state: State) -> None:
        self.show(Progress(blob.digest, media_types.kind(blob.media_type), offset, blob.size, state))


def _common(first: str, second: str) -> int:
    """How many components two repositories' names have in common at their beginning."""
    pairs = zip(first.split("/"), second.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
