"""Whether an image is whole: every blob here, and each with the bytes that its digest stands for."""

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import NotFound
from corten.values import dataclass

from .client import Client
from .image_tree import Node
from .progress import Progress, ignored


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a blob: `missing`, or `damaged`."""

    blob: Node
    problem: str


async def verify(client: Client, image: Node, progress: Progress = ignored) -> list[Finding]:
    """Read every blob that is here; nothing is wrong if the list is empty. What was left out is not missing."""
    apart = {node.descriptor.digest for node in left_out(image)}
    blobs = {node.descriptor.digest: node for node in image.walk() if node.descriptor.digest not in apart}
    found = []
    for node in blobs.values():
        problem = "missing" if not node.present else await _problem(client, node.descriptor, progress)
        if problem:
            found.append(Finding(node, problem))
    return found


def left_out(image: Node) -> list[Node]:
    """What an index has for other platforms, as far as it was not fetched; nothing if it is here for none."""
    if not any(node.present for node in image.manifests()):
        return []
    return [child for node in image.walk() if node.kind == "index" for child in node.children if not child.present]


async def _problem(client: Client, blob: Descriptor, progress: Progress) -> str:
    state, size = digests.hasher(digests.parse(blob.digest)[0]), 0
    try:
        async for data in client.content.read(blob.digest):
            state.update(data)
            size += len(data)
            progress(f"verify {blob.digest}", size, blob.size)
    except NotFound:
        return "missing"
    right = size == blob.size and f"{blob.digest.partition(':')[0]}:{state.hexdigest()}" == blob.digest
    return "" if right else "damaged"
