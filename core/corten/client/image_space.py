"""What space images take: bytes of blobs and of snapshots, and how much of it would be free without each."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from corten.contracts.objects import Image
from corten.errors import CortenError, NotFound
from corten.oci_image import documents, unpack
from corten.values import dataclass

from .client import Client
from .image_tree import Node, tree

_SNAPSHOT = "containerd.io/gc.ref.snapshot."


@dataclass(frozen=True, slots=True)
class Space:
    """Of one image, in bytes; `unique` parts are those that no other image has."""

    name: str
    content: int
    unique_content: int
    snapshots: int
    unique_snapshots: int


@dataclass(frozen=True, slots=True)
class Spaces:
    """Of all images of a namespace; the totals count what several have once."""

    images: Sequence[Space]
    content: int
    snapshots: int


Sizes = Mapping[Hashable, int]


async def space(client: Client) -> Spaces:
    """Of every image; one whose documents are malformed counts with what could be read."""
    images = await client.images.list()
    blobs = [await _blobs(client, image) for image in images]
    trees = [await _snapshots(client, each) for each in blobs]
    content: list[Sizes] = [
        {node.descriptor.digest: node.descriptor.size for node in each if node.present} for each in blobs
    ]
    found = []
    for image, own, tops in zip(images, content, trees, strict=True):
        unique, unique_tops = _unique(own, content, image, images), _unique(tops, trees, image, images)
        found.append(Space(image.name, sum(own.values()), unique, sum(tops.values()), unique_tops))
    return Spaces(found, _all(content), _all(trees))


def _unique(own: Sizes, of_all: Sequence[Sizes], image: Image, images: Sequence[Image]) -> int:
    """Further names of the same target are no other image."""
    users = Counter(
        key
        for sizes, other in zip(of_all, images, strict=True)
        if other.target.digest != image.target.digest
        for key in sizes
    )
    return sum(size for key, size in own.items() if not users[key])


def _all(sizes: Sequence[Sizes]) -> int:
    return sum({key: size for each in sizes for key, size in each.items()}.values())


async def _blobs(client: Client, image: Image) -> list[Node]:
    try:
        return list((await tree(client, image)).walk())
    except CortenError:
        return []


async def _snapshots(client: Client, blobs: Sequence[Node]) -> Sizes:
    """The snapshots of an image with their sizes, by snapshotter and name."""
    sizes: dict[Hashable, int] = {}
    for node in blobs:
        snapshotters = [key.removeprefix(_SNAPSHOT) for key in node.labels or {} if key.startswith(_SNAPSHOT)]
        if node.kind != "config" or not snapshotters:
            continue
        data = await client.content.read_all(node.descriptor.digest, documents.MAX_SIZE)
        for name in unpack.chain_ids(documents.config(data, node.descriptor.digest).diff_ids):
            for snapshotter in snapshotters:
                try:
                    sizes[snapshotter, name] = (await client.snapshots(snapshotter).usage(name)).size
                except NotFound:
                    continue
    return sizes
