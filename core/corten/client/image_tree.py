"""What an image consists of, as a tree of its documents and blobs, and which of it the daemon has."""

from collections.abc import Iterator, Mapping

from corten import platforms
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.errors import FailedPrecondition, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.platforms import Platform, rank
from corten.registry.kept_referrers import kept
from corten.values import dataclass

from .client import Client
from .sink import WireSink

MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A blob; `kind` is index, manifest, config, layer, attestation, referrer or unknown.

    `labels` is None if it is not here; `platform` that of a manifest, as far as it is known. Referrers that are here
    are children of what they are about.
    """

    descriptor: Descriptor
    kind: str
    labels: Mapping[str, str] | None
    platform: Platform | None = None
    children: tuple["Node", ...] = ()

    @property
    def present(self) -> bool:
        return self.labels is not None

    def walk(self) -> Iterator["Node"]:
        """This and all below."""
        yield self
        for child in self.children:
            yield from child.walk()

    def manifests(self) -> Iterator["Node"]:
        """Those of images, attestations left aside."""
        return (node for node in self.walk() if node.kind == "manifest")

    @property
    def missing(self) -> list["Node"]:
        """What is not here, each blob once."""
        return list({node.descriptor.digest: node for node in self.walk() if not node.present}.values())

    @property
    def size(self) -> int:
        """Bytes of the blobs that are here, each once."""
        return sum({node.descriptor.digest: node.descriptor.size for node in self.walk() if node.present}.values())


async def tree(client: Client, image: Image) -> Node:
    """Raises InvalidArgument for malformed documents, FailedPrecondition for indexes nested without end."""
    return await _node(client, image.target, None, 0)


def of_platform(node: Node, platform: Platform | None = None) -> list[Node]:
    """The manifests for a platform, the host's by default; what has no platform counts.

    One that stands alone is taken for another than the host only if none is asked for.
    """
    if platform is None and node.kind == "manifest":
        return [node]
    wanted = platform or platforms.host()
    return [each for each in node.manifests() if each.platform is None or rank(wanted, each.platform) is not None]


async def _node(client: Client, target: Descriptor, platform: Platform | None, depth: int, kind: str = "") -> Node:
    kind, what = kind or media_types.kind(target.media_type), f"{target.media_type} {target.digest}"
    if depth > MAX_DEPTH:
        raise FailedPrecondition(f"{what}: indexes are nested more than {MAX_DEPTH} deep")
    try:
        labels = (await client.content.info(target.digest)).labels
    except NotFound:
        return Node(target, kind, None, platform)
    referrers = await _referrers(client, target, labels, depth)
    if media_types.kind(target.media_type) == "index":
        data = await client.content.read_all(target.digest, documents.MAX_SIZE)
        return Node(target, kind, labels, platform, (*await _entries(client, data, target, depth), *referrers))
    if media_types.kind(target.media_type) != "manifest":
        return Node(target, kind, labels, platform)
    data = await client.content.read_all(target.digest, documents.MAX_SIZE)
    manifest = documents.manifest(data, target.media_type, what)
    children = [await _node(client, child, None, depth + 1) for child in (manifest.config, *manifest.layers)]
    if platform is None and children[0].present and children[0].kind == "config":
        config = await client.content.read_all(manifest.config.digest, documents.MAX_SIZE)
        found = documents.config(config, what).platform
        platform = found if found.os else None
    return Node(target, kind, labels, platform, (*children, *referrers))


async def _referrers(client: Client, target: Descriptor, labels: Mapping[str, str], depth: int) -> list[Node]:
    if not gc_labels.referrers_in(labels):
        return []
    found = await kept(WireSink(client.content), target.digest)
    return [await _node(client, each.descriptor, None, depth + 1, "referrer") for each in found]


async def _entries(client: Client, data: bytes, target: Descriptor, depth: int) -> tuple[Node, ...]:
    index = documents.index(data, target.media_type, f"index {target.digest}")
    return tuple(
        [
            await _node(client, each.descriptor, each.platform, depth + 1, "attestation" if each.is_attestation else "")
            for each in index.entries
        ]
    )
