"""Archives with images for several platforms, of which some are asked for: only these are kept, and must be whole."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence

import images
import pytest
from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.build import File, Image, build, layer
from corten.platforms import Platform
from corten.registry.archive import taken_in
from corten.registry.contents import TakenIn
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent

AMD64, ARM64, ARM = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "arm", "v7")
FOR = {
    platform: build("x", [layer([File("for", str(platform).encode())])], platform, {}) for platform in (AMD64, ARM64)
}


def member(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def layout(entries: Sequence[Mapping[str, object]], blobs: Mapping[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        images.file(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        images.file(archive, "index.json", documents.dump({"schemaVersion": 2, "manifests": list(entries)}))
        for digest, data in blobs.items():
            images.file(archive, member(digest), data)
    buffer.seek(0)
    return buffer


def entry(image: Image, platform: Platform | None) -> dict[str, object]:
    return documents.as_document(image.target, platform)


def index(store: dict[str, bytes]) -> dict[str, object]:
    """An index of both, as an entry of another one."""
    data = documents.dump({"manifests": [entry(image, platform) for platform, image in FOR.items()]})
    target = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    store[target.digest] = data
    return documents.as_document(target)


def both() -> dict[str, bytes]:
    return {digest: data for image in FOR.values() for digest, data in image.blobs.items()}


async def took(archive: io.BytesIO, *wanted: Platform) -> tuple[TakenIn, MemoryContent]:
    store = MemoryContent()
    return await taken_in(archive, StoreSink(store), platforms=wanted), store


def kept(store: MemoryContent, image: Image) -> bool:
    """Whether the manifest holds its layers."""
    return any(key.startswith(gc_labels.LAYER) for key in store.info(image.target.digest).labels)


async def test_below_an_index_only_what_is_asked_for_is_kept() -> None:
    blobs = both()
    nested = index(blobs)
    _, store = await took(layout([nested], blobs), ARM64)
    assert (kept(store, FOR[AMD64]), kept(store, FOR[ARM64])) == (False, True)
    _, store = await took(layout([nested], blobs))
    assert (kept(store, FOR[AMD64]), kept(store, FOR[ARM64])) == (True, True)


async def test_what_is_asked_for_must_be_there() -> None:
    blobs = both()
    nested = index(blobs)
    for digest in FOR[ARM64].blobs:
        del blobs[digest]
    await took(layout([nested], blobs), AMD64)
    await took(layout([nested], blobs))  # all that there are
    with pytest.raises(InvalidArgument, match=f"{FOR[ARM64].target.digest} of the archive: it is missing"):
        await took(layout([nested], blobs), ARM64)
    with pytest.raises(NotFound, match="no image for linux/arm/v7, only for: linux/amd64, linux/arm64"):
        await took(layout([nested], blobs), ARM)


async def test_images_side_by_side() -> None:
    entries = [entry(image, platform) for platform, image in FOR.items()]
    taken, store = await took(layout(entries, both()), AMD64)
    assert [target.digest for target in taken.targets] == [FOR[AMD64].target.digest]
    assert not kept(store, FOR[ARM64])
    assert len((await took(layout(entries, both())))[0].targets) == 2
    with pytest.raises(NotFound, match=r"no image for linux/arm/v7, only for: linux/amd64 \(ask for"):
        await took(layout(entries, both()), ARM)
    unsaid = layout([entry(FOR[ARM64], None)], both())
    assert len((await took(unsaid, AMD64))[0].targets) == 1, "what does not say may be for any"


async def test_docker_archives_say_it_in_the_config() -> None:
    image = FOR[ARM64]
    manifest = documents.manifest(image.blobs[image.target.digest], image.target.media_type, "it")
    parts = {member(digest): data for digest, data in image.blobs.items()}
    names = {"Config": member(manifest.config.digest), "Layers": [member(manifest.layers[0].digest)]}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in parts.items():
            images.file(archive, name, data)
        images.file(archive, "manifest.json", json.dumps([{**names, "RepoTags": ["a:1"]}]).encode())
    for wanted in ((), (ARM64,)):
        buffer.seek(0)
        assert len((await took(buffer, *wanted))[0].targets) == 1
    buffer.seek(0)
    with pytest.raises(NotFound, match="no image for linux/amd64, only for: linux/arm64"):
        await took(buffer, AMD64)
