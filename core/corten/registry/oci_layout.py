"""The images of an OCI image layout, once its blobs are in the sink."""

from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import ImportedImage, Index
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME, SUBJECT

from .contents import Contents, TakenIn
from .sink import BlobSink, store_document

MAX_NESTING = 4


async def images(contents: Contents, sink: BlobSink, name: str) -> list[ImportedImage]:
    """Label what is reachable from index.json; the images by their names there, else by `name`."""
    index = _index(contents)
    found = [ImportedImage(_name(target, name), target) for target in _targets(index)]
    for image in found:
        await _label(image.target, sink, required=True)
    await _label_referrers(index, sink)
    return found


async def taken_in(contents: Contents, sink: BlobSink) -> TakenIn:
    """The same without their names; index.json is stored as it is. Raises InvalidArgument if it names no image."""
    index = _index(contents)
    targets = _targets(index)
    for target in targets:
        await _label(target, sink, required=True)
    await _label_referrers(index, sink)
    data = contents.documents["index.json"]
    stored = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    await store_document(sink, stored, data, [entry.descriptor for entry in index.entries])
    return TakenIn(stored, targets)


def _index(contents: Contents) -> Index:
    return documents.index(contents.documents["index.json"], "", "index.json of the archive")


def _targets(index: Index) -> list[Descriptor]:
    found = [
        entry.descriptor
        for entry in index.entries
        if not (entry.is_attestation or SUBJECT in entry.descriptor.annotations)
        and media_types.kind(entry.descriptor.media_type) in ("index", "manifest")
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


async def _label_referrers(index: Index, sink: BlobSink) -> None:
    """What is about others is kept by them; if they are not in the archive, it is not kept."""
    for target in (entry.descriptor for entry in index.entries if SUBJECT in entry.descriptor.annotations):
        subject = target.annotations[SUBJECT]
        if await sink.exists(subject):
            await _label(target, sink, required=True)
            await sink.label(subject, gc_labels.of_referrers([target.digest]))


async def _label(target: Descriptor, sink: BlobSink, *, required: bool, depth: int = 0) -> None:
    """Name the children of an index or manifest; those of an index for other platforms may be missing."""
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
        children = [entry.descriptor for entry in documents.index(data, target.media_type, what).entries]
        if depth >= MAX_NESTING:
            raise InvalidArgument(f"{what}: indexes are nested more than {MAX_NESTING} deep")
        for child in children:
            if media_types.kind(child.media_type) in ("index", "manifest"):
                await _label(child, sink, required=False, depth=depth + 1)
    if children:
        await sink.label(target.digest, gc_labels.of_children(children))


async def _check_present(children: list[Descriptor], sink: BlobSink, what: str, required: bool) -> None:
    for child in children if required else []:
        if not await sink.exists(child.digest):
            raise InvalidArgument(f"{what}: its {media_types.kind(child.media_type)} {child.digest} is missing")
