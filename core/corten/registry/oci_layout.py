"""The images of an OCI image layout, once its blobs are in the sink."""

from corten import references
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import ImportedImage
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME

from .contents import Contents
from .sink import BlobSink

MAX_NESTING = 4


async def images(contents: Contents, sink: BlobSink, name: str) -> list[ImportedImage]:
    """Label what is reachable from index.json; the images by their names there, else by `name`."""
    found = [ImportedImage(_name(target, name), target) for target in _targets(contents)]
    await targets(contents, sink)
    return found


async def targets(contents: Contents, sink: BlobSink) -> list[Descriptor]:
    """The same without their names, which are in their annotations. Raises InvalidArgument if there are none."""
    found = _targets(contents)
    for target in found:
        await _label(target, sink, required=True)
    return found


def _targets(contents: Contents) -> list[Descriptor]:
    index = documents.index(contents.documents["index.json"], "", "index.json of the archive")
    images = ("index", "manifest")
    found = [
        entry.descriptor
        for entry in index.entries
        if not entry.is_attestation and media_types.kind(entry.descriptor.media_type) in images
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
    return f"{asked.name}:{tag}" if tag and not _has_tag(given) else str(asked)


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2] or "@" in name


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
