"""Export of images into a tar archive that is an OCI image layout and what `docker load` reads, at once.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md,
https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
The same images give the same bytes: members in the order of their names, times 0, owners root.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import field, replace
from typing import Any

from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.contracts.transfer import ByteWriter
from corten.errors import CortenError, DataLoss, InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME, SUBJECT
from corten.platforms import Platform, best
from corten.values import dataclass

from .kept_referrers import kept
from .source import BlobSource
from .tree import MAX_NESTING, Wanted, select

BLOCK = 512
MAX_NAMED = 8
"""Absent blobs that an error names; it tells how many more there are."""


@dataclass(frozen=True, slots=True)
class Named:
    """An image to export under its name."""

    name: str
    target: Descriptor


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """No platforms means all; `docker`: with the manifest.json that `docker load` wants, for `host` or else any.

    `skip_non_distributable` leaves out layers that may not be passed on.
    """

    platforms: tuple[Platform, ...] = ()
    host: Platform | None = None
    docker: bool = True
    skip_non_distributable: bool = False


@dataclass(slots=True)
class Plan:
    """What the archive will have: blobs by member name, and documents made for it."""

    blobs: dict[str, Descriptor] = field(default_factory=dict)
    made: dict[str, bytes] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """What the store lacks, by digest: what it is."""
    referrers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Entries of index.json for what is about others, by digest."""


async def export(source: BlobSource, images: Sequence[Named], options: ExportOptions, out: ByteWriter) -> None:
    """Write the archive; the caller closes `out`.

    Raises NotFound for content that the store lacks, before anything is written, naming each blob, and for a platform
    that an image is not made for; DataLoss for a stored blob with other bytes than its digest says.
    """
    plan = await planned(source, images, options)
    for name in sorted({*plan.blobs, *plan.made, *_folders(plan)}):
        if name in plan.made:
            await out.write(header(name, len(plan.made[name])) + padded(plan.made[name]))
        elif name in plan.blobs:
            await _blob(source, name, plan.blobs[name], out)
        else:
            await out.write(header(name, 0, folder=True))
    await out.write(bytes(2 * BLOCK))


async def planned(source: BlobSource, images: Sequence[Named], options: ExportOptions) -> Plan:
    """Find out what belongs to the images, and that it is all there."""
    if not images:
        raise InvalidArgument("export: there is no image to export")
    plan, docker = Plan(), dict[str, dict[str, Any]]()
    for image in images:
        walk = _Walk(source, options, plan, image.name)
        manifests = await walk.document(image.target, 0)
        if options.docker and manifests:
            _add_docker(docker, _chosen(manifests, options.host), image.name)
    if plan.absent:
        raise NotFound(_lacking(plan.absent))
    entries = [_entry(image, await source.labels(image.target.digest)) for image in images]
    plan.made["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    plan.made["index.json"] = documents.dump(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": [*entries, *(plan.referrers[digest] for digest in sorted(plan.referrers))],
        }
    )
    if docker:
        plan.made["manifest.json"] = json.dumps(list(docker.values()), separators=(",", ":")).encode()
    return plan


@dataclass(frozen=True, slots=True)
class _Manifest:
    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    platform: Platform | None


@dataclass(slots=True)
class _Walk:
    """Through one image."""

    source: BlobSource
    options: ExportOptions
    plan: Plan
    name: str

    async def document(self, target: Descriptor, depth: int, platform: Platform | None = None) -> list[_Manifest]:
        """Note it with all below it; returns the manifests."""
        what = f"{media_types.kind(target.media_type)} {target.digest} of image {self.name!r}"
        if depth > MAX_NESTING:
            raise InvalidArgument(f"{what}: indexes are nested more than {MAX_NESTING} deep")
        try:
            data = await self.source.read(target.digest, documents.MAX_SIZE)
        except NotFound:
            self.plan.absent[target.digest] = f"{what}{_of(platform)}"
            return []
        self.plan.blobs[member(target.digest)] = target
        await self._referrers(target, depth)
        if media_types.kind(target.media_type) != "index":
            return [await self._manifest(target, data, what, platform)]
        index = documents.index(data, target.media_type, what)
        chosen, _ = select(index, Wanted(self.options.platforms), what)
        found = []
        for entry in chosen:
            found += await self.document(entry.descriptor, depth + 1, entry.platform)
        return found

    async def _referrers(self, subject: Descriptor, depth: int) -> None:
        """What the store keeps for a document, which is about it, goes with it; whole, for no platform."""
        whole = _Walk(self.source, replace(self.options, platforms=()), self.plan, self.name)
        for each in await kept(self.source, subject.digest):
            target = each.descriptor
            if member(target.digest) in self.plan.blobs:
                continue
            entry = documents.as_document(
                Descriptor(target.media_type, target.digest, target.size, {SUBJECT: subject.digest})
            )
            self.plan.referrers[target.digest] = entry | (
                {"artifactType": each.artifact_type} if each.artifact_type else {}
            )
            await whole.document(target, depth + 1)

    async def _manifest(self, target: Descriptor, data: bytes, what: str, platform: Platform | None) -> _Manifest:
        manifest = documents.manifest(data, target.media_type, what)
        for child in (manifest.config, *manifest.layers):
            if await self._wanted(child, f"{what}{_of(platform)}"):
                self.plan.blobs[member(child.digest)] = child
        return _Manifest(target.digest, manifest.config, manifest.layers, platform)

    async def _wanted(self, child: Descriptor, what: str) -> bool:
        """Whether it goes into the archive; what is missing is noted, but layers that may not be passed on may be."""
        foreign = not media_types.is_distributable(child.media_type)
        if foreign and self.options.skip_non_distributable:
            return False
        try:
            await self.source.labels(child.digest)
        except NotFound:
            if not foreign:
                self.plan.absent[child.digest] = f"{media_types.kind(child.media_type)} {child.digest} of {what}"
            return False
        return True


def _of(platform: Platform | None) -> str:
    return f" for {platform}" if platform else ""


def _lacking(absent: Mapping[str, str]) -> str:
    shown = "; ".join(list(absent.values())[:MAX_NAMED])
    number = "1 blob is" if len(absent) == 1 else f"{len(absent)} blobs are"
    more = f"; and {len(absent) - MAX_NAMED} more" if len(absent) > MAX_NAMED else ""
    return (
        f"export: {number} not in the content store: {shown}{more} (pull the image again with the "
        "platforms that are to be exported, or export only those that are here; layers that a remote snapshotter "
        "brought are fetched only by a pull for another snapshotter)"
    )


def _chosen(manifests: Sequence[_Manifest], host: Platform | None) -> _Manifest:
    fitting = best(host, [(each.platform, each) for each in manifests if each.platform]) if host else None
    return fitting or manifests[0]


def _add_docker(entries: dict[str, dict[str, Any]], manifest: _Manifest, name: str) -> None:
    layers = [member(layer.digest) for layer in manifest.layers]
    entry = entries.setdefault(
        manifest.digest, {"Config": member(manifest.config.digest), "RepoTags": [], "Layers": layers}
    )
    if tag := _docker_tag(name):
        entry["RepoTags"].append(tag)


def _docker_tag(name: str) -> str:
    """docker's short form; empty for a name that docker cannot have as a tag."""
    try:
        reference = references.parse(name)
    except CortenError:
        return ""
    return "" if reference.digest else reference.familiar


def _entry(image: Named, labels: Mapping[str, str]) -> dict[str, Any]:
    """As index.json has it, annotated with its names and, as by containerd, with where it came from."""
    target, sources = image.target, {key: value for key, value in labels.items() if key.startswith(gc_labels.SOURCE)}
    annotations = {**target.annotations, **sources, IMAGE_NAME: image.name, REF_NAME: _oci_name(image.name)}
    return documents.as_document(Descriptor(target.media_type, target.digest, target.size, annotations))


def _oci_name(name: str) -> str:
    """The tag as OCI's annotation has it; of a name without one, the whole, whose grammar is that of the annotation."""
    try:
        return (references.parse(name).tag if references.has_tag(name) else "") or name
    except CortenError:
        return name


def member(digest: str) -> str:
    """The name of a blob in an image layout."""
    algorithm, encoded = digests.parse(digest)
    return f"blobs/{algorithm}/{encoded}"


def _folders(plan: Plan) -> set[str]:
    return {"blobs/", *(f"{name.rpartition('/')[0]}/" for name in plan.blobs)}


def header(name: str, size: int, *, folder: bool = False) -> bytes:
    """A tar header (POSIX.1-2001 ustar; sizes over 8 GiB in base 256, as GNU tar and Go write them)."""
    mode, kind = (0o755, b"5") if folder else (0o444 if name.startswith("blobs/") else 0o644, b"0")
    count = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    fields = (name.encode().ljust(100, b"\0"), b"%07o\0" % mode, b"0000000\0" * 2, count, b"00000000000\0")
    start, end = b"".join(fields), kind + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    checksum = sum(start) + sum(end) + 8 * ord(" ")
    return start + b"%06o\0 " % checksum + end


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


async def _blob(source: BlobSource, name: str, blob: Descriptor, out: ByteWriter) -> None:
    state, size = digests.hasher(digests.parse(blob.digest)[0]), 0
    await out.write(header(name, blob.size))
    async with aclosing(source.parts(blob.digest)) as parts:
        async for part in parts:
            size += len(part)
            if size > blob.size:
                break
            state.update(part)
            await out.write(part)
    if size != blob.size or f"{blob.digest.partition(':')[0]}:{state.hexdigest()}" != blob.digest:
        raise DataLoss(f"content {blob.digest}: its bytes in the content store are others (remove it and pull again)")
    await out.write(bytes(-size % BLOCK))
