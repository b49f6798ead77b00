"""The images of an OCI image layout, once its blobs are in the sink."""

from collections.abc import Sequence

from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import ImportedImage, Index, IndexEntry
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME
from corten.platforms import Platform, rank

from .contents import Contents, TakenIn
from .layout_referrers import About, apart
from .sink import BlobSink, store_document
from .tree import Wanted, select

MAX_NESTING = 4


async def images(contents: Contents, sink: BlobSink, name: str) -> list[ImportedImage]:
    """Label what is reachable from index.json; the images by their names there, else by `name`."""
    entries, about = await apart(_index(contents), sink)
    found = [ImportedImage(_name(entry.descriptor, name), entry.descriptor) for entry in _images(entries)]
    for image in found:
        await _label(image.target, sink, ())
    await _label_referrers(about, sink)
    return found


async def taken_in(contents: Contents, sink: BlobSink, platforms: Sequence[Platform] = ()) -> TakenIn:
    """The same without their names, for these platforms or all; index.json is stored as it is.

    Raises InvalidArgument if it names no image, or not all of one, NotFound if none is for the platforms.
    """
    index = _index(contents)
    entries, about = await apart(index, sink)
    targets = await _labelled(_images(entries), sink, platforms)
    await _label_referrers(about, sink)
    data = contents.documents["index.json"]
    stored = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    await store_document(sink, stored, data, [entry.descriptor for entry in index.entries])
    return TakenIn(stored, targets)


def _index(contents: Contents) -> Index:
    return documents.index(contents.documents["index.json"], "", "index.json of the archive")


def _images(entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    found = [
        entry
        for entry in entries
        if not entry.is_attestation and media_types.kind(entry.descriptor.media_type) in ("index", "manifest")
    ]
    if not found:
        raise InvalidArgument("archive: its index.json names no image")
    return found


def _name(target: Descriptor, given: str) -> str:
    """containerd's annotation, else a whole reference or a tag in the OCI one, else the name given."""
    if named := target.annotations.get(IMAGE_NAME):
        return references.normalised(named)
    tag = target.annotations.get(REF_NAME, "")
    if "/" in tag or ":" in tag:
        return references.normalised(tag)
    if not given:
        raise InvalidArgument(f"archive: image {target.digest} has no name in it (give one with --name)")
    asked = references.parse(given)
    # `--name busybox` for several tags in the archive: each keeps its own.
    return f"{asked.name}:{tag}" if tag and not references.has_tag(given) else str(asked)


async def _labelled(entries: Sequence[IndexEntry], sink: BlobSink, platforms: Sequence[Platform]) -> list[Descriptor]:
    """What is for the platforms, or says nothing of them; the rest is not kept."""
    found, others = list[Descriptor](), list[NotFound]()
    for entry in entries:
        try:
            check_platform(entry.platform, platforms)
            await _label(entry.descriptor, sink, platforms)
            found.append(entry.descriptor)
        except NotFound as error:
            others.append(error)
    if not found:
        raise others[0]
    return found


def check_platform(made_for: Platform | None, platforms: Sequence[Platform]) -> None:
    """Raises NotFound for an image of an archive that is for none of the platforms; none means all."""
    if platforms and made_for and made_for.os and all(rank(wanted, made_for) is None for wanted in platforms):
        asked = ", ".join(map(str, platforms))
        raise NotFound(
            f"archive: there is no image for {asked}, only for: {made_for} (ask for that platform, or for all)"
        )


async def _label_referrers(about: Sequence[About], sink: BlobSink) -> None:
    """What is about others is kept by them; if one of the two is not in the archive, it is not kept."""
    for each in about:
        if await sink.exists(each.subject) and await sink.exists(each.target.digest):
            await _label(each.target, sink, ())
            await sink.label(each.subject, gc_labels.of_referrers([each.target.digest]))


async def _label(
    target: Descriptor, sink: BlobSink, platforms: Sequence[Platform], *, required: bool = True, depth: int = 0
) -> None:
    """Name the children of an index or manifest.

    Below an index all that is for the platforms must be there; where all are wanted, what is there is all. Raises
    InvalidArgument for what is missing, NotFound if an index has nothing for the platforms.
    """
    what = f"{media_types.kind(target.media_type)} {target.digest} of the archive"
    try:
        data = await sink.read(target.digest, documents.MAX_SIZE)
    except NotFound:
        if required:
            raise InvalidArgument(f"{what}: it is missing") from None
        return
    if media_types.kind(target.media_type) == "manifest":
        manifest = documents.manifest(data, target.media_type, what)
        children = [manifest.config, *manifest.layers]
        await _check_present(children, sink, what, required)
    else:
        index = documents.index(data, target.media_type, what)
        children = [entry.descriptor for entry in index.entries]
        if depth >= MAX_NESTING:
            raise InvalidArgument(f"{what}: indexes are nested more than {MAX_NESTING} deep")
        for entry in select(index, Wanted(tuple(platforms)), what)[0]:
            if media_types.kind(entry.descriptor.media_type) in ("index", "manifest"):
                await _label(entry.descriptor, sink, platforms, required=bool(platforms), depth=depth + 1)
    if children:
        await sink.label(target.digest, gc_labels.of_children(children))


async def _check_present(children: list[Descriptor], sink: BlobSink, what: str, required: bool) -> None:
    for child in children if required else []:
        if not await sink.exists(child.digest):
            raise InvalidArgument(f"{what}: its {media_types.kind(child.media_type)} {child.digest} is missing")
