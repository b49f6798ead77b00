"""Records of images in the store: which names an image gets, and putting them there."""

from collections.abc import Mapping, Sequence

from corten import references
from corten.contracts.descriptor import Descriptor
from corten.contracts.metadata import ImageStore
from corten.contracts.objects import Image
from corten.contracts.scope import Scope
from corten.contracts.transfer import Reference, StoreImage
from corten.errors import AlreadyExists, InvalidArgument, NotFound
from corten.gc_expiry import EXPIRE, IMAGE_REFERENCE, PASSING, expiry_time
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME

from .parts import Parts


def pulled(wanted: StoreImage, target: Descriptor) -> list[str]:
    """The names of an image from a registry or of a tag: its own, and the further ones. Raises InvalidArgument."""
    if not (names := whole(wanted, target)):
        raise InvalidArgument("transfer: the destination has no name for the image")
    return names


def whole(wanted: StoreImage, target: Descriptor) -> list[str]:
    """The names of all that came: an image from a registry, or the index of an archive; may be none."""
    names = [wanted.name] if wanted.name else []
    further = [reference for reference in wanted.references if reference.add_digest or not reference.is_prefix]
    names += [f"{each.name}@{target.digest}" if each.add_digest else each.name for each in further]
    return list(dict.fromkeys(names))


def imported(wanted: StoreImage, target: Descriptor) -> list[str]:
    """The names of an image within an archive, by its annotations and the prefixes asked for; may be none."""
    names: list[str] = []
    for reference in wanted.references:
        if not reference.is_prefix:
            continue
        name = _annotated(target.annotations, reference, named=bool(names))
        if name:
            names.append(name)
        if reference.add_digest and not (name and reference.skip_named_digest):
            names.append(f"{reference.name}@{target.digest}")
    return list(dict.fromkeys(names))


def check_apart(named: Sequence[tuple[Descriptor, Sequence[str]]]) -> None:
    """Raises InvalidArgument for a name that would be that of images with several tags: only one would keep it."""
    tags: dict[str, set[str]] = {}
    for target, names in named:
        for name in names:
            tags.setdefault(name, set()).add(target.annotations.get(REF_NAME, ""))
    for name, found in tags.items():
        if len(found) > 1:
            shown = ", ".join(sorted(repr(tag[:100]) for tag in found))
            raise InvalidArgument(
                f"import: {name!r} would be the name of several images of the archive, with the tags {shown} (give a "
                "name without a tag, and each keeps its own)"
            )


def _annotated(annotations: Mapping[str, str], reference: Reference, *, named: bool) -> str:
    """A whole name counts if it begins with the prefix or may overwrite it; a mere tag is put behind the prefix.

    A prefix that has a tag itself is the name of an image that has none, or only a tag; with `skip_named_digest` only
    if it is not `named` otherwise.
    """
    prefix = reference.name
    if references.has_tag(prefix):
        return "" if _whole_name(annotations) or (named and reference.skip_named_digest) else prefix
    if whole := annotations.get(IMAGE_NAME, ""):
        return whole if reference.allow_overwrite or not prefix or _begins(whole, prefix) else ""
    tag = annotations.get(REF_NAME, "")
    if any(mark in tag for mark in "/:@"):
        return tag if reference.allow_overwrite or not prefix or _begins(tag, prefix) else ""
    return f"{prefix}:{tag}" if tag and prefix else ""


def _whole_name(annotations: Mapping[str, str]) -> str:
    tag = annotations.get(REF_NAME, "")
    return annotations.get(IMAGE_NAME, "") or (tag if any(mark in tag for mark in "/:@") else "")


def _begins(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and (len(name) == len(prefix) or name[len(prefix)] in "/:@" or prefix[-1] in "/:@")


def labels_of(wanted: StoreImage, name: str) -> dict[str, str]:
    """A further name of an image that has one of its own goes with that: it is no root, and refers back to it."""
    if not wanted.name or name == wanted.name:
        return dict(wanted.labels)
    return {**wanted.labels, IMAGE_REFERENCE: wanted.name, EXPIRE: expiry_time(0)}


async def save(parts: Parts, scope: Scope, names: Sequence[str], target: Descriptor, wanted: StoreImage) -> None:
    """Let these names point to the target, made or changed."""
    store = parts.metadata.images(scope)
    for name in names:
        image = await parts.pools.run("metadata", _put, store, Image(name, target, labels_of(wanted, name)))
        await parts.hooks.image_pulled(scope.namespace, image)


def _put(store: ImageStore, image: Image) -> Image:
    """Labels that are not given stay, but one that is to be an image of its own does not go with another any more."""
    labels = dict.fromkeys((*image.labels, *PASSING))
    while True:
        try:
            return store.create(image)
        except AlreadyExists:
            try:
                return store.update(image, ("target", *(f"labels.{key}" for key in labels)))
            except NotFound:
                continue  # removed in between
