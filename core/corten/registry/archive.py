"""Import of images from tar archives: OCI image layouts, and what `docker save` writes; plain or compressed.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md,
https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
The archive is read once, front to back, and may come from a pipe; blobs go straight into the sink.
"""

import asyncio
import posixpath
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from corten import digests
from corten.errors import AlreadyExists, CortenError, DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted
from corten.oci_image import documents
from corten.oci_image.model import ImportedImage
from corten.platforms import Platform

from . import docker_archive, oci_layout
from .contents import Contents, Stored, TakenIn, clean
from .progress import Progress, Show, State, ignore
from .sink import BlobSink, BlobWriter, Run
from .tarstream import Member, Readable, TarStream

_DOCUMENTS = ("index.json", "manifest.json", "oci-layout")
_HEAD = 4
_LAYOUT = "1.0.0"


async def import_archive(
    file: Readable, sink: BlobSink, *, name: str = "", progress: Show = ignore, run: Run = asyncio.to_thread
) -> list[ImportedImage]:
    """Have the images of the archive in the sink, labelled for gc; the caller holds a lease and makes the records.

    `file` is an open binary file or pipe, read through `run`. `name` is for an archive that has one image without a
    name, or only with a tag. Raises InvalidArgument for what is malformed, cut off or incomplete, ResourceExhausted
    for a document that is too large, DataLoss for a blob that is not what its name says.
    """
    contents = await _store_all(file, sink, progress, run)
    if _is_layout(contents):
        return await oci_layout.images(contents, sink, name)
    return await docker_archive.images(contents, sink, name)


async def taken_in(
    file: Readable,
    sink: BlobSink,
    *,
    progress: Show = ignore,
    run: Run = asyncio.to_thread,
    compress: docker_archive.Compress | None = None,
    platforms: Sequence[Platform] = (),
) -> TakenIn:
    """As `import_archive`, for whoever names the images himself; `compress` is for the layers of docker archives.

    What is for other platforms than these is not kept. Raises NotFound if all is, InvalidArgument if what is for these
    is not complete.
    """
    contents = await _store_all(file, sink, progress, run)
    if _is_layout(contents):
        return await oci_layout.taken_in(contents, sink, platforms)
    return await docker_archive.taken_in(contents, sink, compress, platforms)


def _is_layout(contents: Contents) -> bool:
    """Whether it is an image layout, which the file `oci-layout` says; else it is what `docker save` wrote.

    Both may be in one archive. Raises InvalidArgument if it is neither, or a layout of a version that is not known.
    """
    found = contents.documents
    if "oci-layout" in found:
        version = documents.load(found["oci-layout"], "oci-layout of the archive").get("imageLayoutVersion")
        if version not in (None, "", _LAYOUT):
            raise InvalidArgument(f"archive: it is an image layout of version {version!r}, and only {_LAYOUT} is known")
    if not {"index.json", "manifest.json"} & found.keys():
        raise InvalidArgument("archive: it has neither index.json nor manifest.json, so it is no archive of images")
    return "index.json" in found and ("oci-layout" in found or "manifest.json" not in found)


async def _store_all(file: Readable, sink: BlobSink, show: Show, run: Run) -> Contents:
    tar: TarStream = await run(TarStream, file)
    found: dict[str, bytes] = {}
    blobs: dict[str, Stored] = {}
    links: dict[str, str] = {}
    member: Member | None
    while (member := await run(tar.next)) is not None:
        name = clean(member.name)
        if member.target is not None:
            links[name] = clean(posixpath.join(posixpath.dirname(name), member.target))
        elif name in _DOCUMENTS:
            found[name] = await _document(tar, member, run)
        elif posixpath.basename(name) not in ("VERSION", "json"):
            blobs[name] = await _Copy(tar, member, sink, show, run).store(_expected(name))
    return Contents(found, blobs, links)


async def _document(tar: TarStream, member: Member, run: Run) -> bytes:
    if member.size > documents.MAX_SIZE:
        raise ResourceExhausted(f"archive: {member.name!r} is larger than the {documents.MAX_SIZE} bytes allowed")
    parts = []
    while data := await run(tar.read):
        parts.append(data)
    return b"".join(parts)


@dataclass(slots=True)
class _Copy:
    """One member on its way into the sink."""

    tar: TarStream
    member: Member
    sink: BlobSink
    show: Show
    run: Run

    async def store(self, expected: str) -> Stored:
        """With `expected` empty the digest is found out. A failure leaves no ingest."""
        ref = f"import-{secrets.token_hex(8)}"  # nothing is resumed, and two imports of one archive do not meet
        try:
            writer = await self.sink.writer(ref, self.member.size, expected)
        except AlreadyExists:
            return await self._there(expected)
        try:
            async with writer:
                # A store that knows the blob from elsewhere has it in the ingest already.
                known = bool(expected) and writer.offset == self.member.size
                stored = await (self._there(expected) if known else self._write(writer, expected))
                with suppress(AlreadyExists):
                    await writer.commit(self.member.size, stored.digest, {})
        except FailedPrecondition as error:
            await self.sink.abort(ref)
            raise DataLoss(f"archive: member {self.member.name[:300]!r} is not what its name says: {error}") from error
        except CortenError:
            await self.sink.abort(ref)
            raise
        self._tell(stored.digest, self.member.size, State.DONE)
        return stored

    async def _write(self, writer: BlobWriter, expected: str) -> Stored:
        head, state = b"", digests.hasher("sha256")
        while data := await self.run(self.tar.read):
            head = (head + data[:_HEAD])[:_HEAD]
            if not expected:
                state.update(data)
            await writer.write(data)
            self._tell(expected or self.member.name, writer.offset, State.FETCHING)
        return Stored(expected or f"sha256:{state.hexdigest()}", self.member.size, head)

    async def _there(self, digest: str) -> Stored:
        head = await self.run(self.tar.read)
        self._tell(digest, self.member.size, State.EXISTS)
        return Stored(digest, self.member.size, head[:_HEAD])

    def _tell(self, digest: str, offset: int, state: State) -> None:
        self.show(Progress(digest, "blob", offset, self.member.size, state))


def _expected(name: str) -> str:
    """The digest that a blob's name in an OCI layout says; empty for other names."""
    match name.split("/"):
        case ["blobs", algorithm, encoded]:
            digest = f"{algorithm}:{encoded}"
            digests.parse(digest)
            return digest
    return ""
