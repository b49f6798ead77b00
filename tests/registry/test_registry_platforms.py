"""What an image is made for: what its index says, what its config says, and where neither is right."""

from collections.abc import Mapping

import pytest
from corten import digests, platforms, references
from corten.contracts.descriptor import Descriptor
from corten.errors import NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.build import File, Image, build, layer
from corten.platforms import Platform
from corten.registry.client import RegistryClient
from corten.registry.pull import pull
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent
from lying_registry import serving

pytestmark = pytest.mark.timeout(60)
S390X = Platform("linux", "s390x")


def made_for(platform: Platform) -> Image:
    return build("x", [layer([File("f", b"f")], compressed=False)], platform, {})


def below_index(image: Image, platform: Platform) -> Image:
    """The image as the only one of an index, which says for what it is."""
    entry: Mapping[str, object] = documents.as_document(image.target, platform)
    data = documents.dump({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry]})
    target = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    return Image("x", target, {**image.blobs, target.digest: data})


async def pulled(image: Image, platform: Platform) -> None:
    store = MemoryContent()
    async with serving(image=image) as (address, _), RegistryClient() as client:
        await pull(client, references.parse(f"{address}/x:tag"), StoreSink(store), platform)
    assert {info.digest for info in store.walk()} == set(image.blobs)


async def test_one_that_stands_alone_is_taken_for_the_host_whatever_it_is_made_for() -> None:
    """There is no other under its name: WebAssembly, or what an emulator runs."""
    await pulled(made_for(Platform("wasi", "wasm")), platforms.host())
    with pytest.raises(NotFound, match="only for: wasi/wasm"):
        await pulled(made_for(Platform("wasi", "wasm")), S390X)


async def test_one_that_does_not_say_it_is_taken_for_any_platform() -> None:
    await pulled(made_for(Platform("linux", "")), platforms.host())
    await pulled(made_for(Platform("linux", "")), S390X)


async def test_what_an_index_says_counts_more_than_the_config() -> None:
    image = below_index(made_for(Platform("linux", "arm64")), S390X)
    await pulled(image, S390X)
    with pytest.raises(NotFound, match="only for: linux/s390x"):
        await pulled(image, Platform("linux", "arm64"))
