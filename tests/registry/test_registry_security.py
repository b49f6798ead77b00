"""Rows of containerd's list of vulnerabilities that concern registries, indexes, manifests and imports, by name."""

import io
import tarfile
from collections.abc import Mapping

import pytest
from aiohttp import web
from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import CortenError, InvalidArgument, NotFound, ResourceExhausted
from corten.oci_image import documents, media_types
from corten.oci_image.build import Image
from corten.registry.archive import import_archive, taken_in
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent
from lying_registry import IMAGE, LAYER, ann, fetched, honest, refused, serving

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def image_with(document: dict[str, object], media_type: str) -> Image:
    data = documents.dump(document)
    target = Descriptor(media_type, digests.of(data), len(data))
    return Image("x", target, {**IMAGE.blobs, target.digest: data})


def tar(members: Mapping[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


async def test_cve_2020_15157_urls_of_foreign_layers_get_no_credentials() -> None:
    """A layer may name URLs of its own; the registry's credentials must not reach them. They are not asked at all."""
    heard: list[web.Request] = []

    async def elsewhere(request: web.Request) -> web.Response:
        heard.append(request)
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="give me"'})

    async def locked(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization", "").startswith("Basic "):
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    manifest = documents.load(IMAGE.blobs[IMAGE.target.digest], "it")
    missing = digests.of(b"elsewhere")
    async with serving(elsewhere) as (other, _):
        layer = {"mediaType": FOREIGN, "digest": missing, "size": 9, "urls": [f"http://{other}/layer"]}
        image = image_with({**manifest, "layers": [layer]}, media_types.OCI_MANIFEST)
        async with serving(locked, image) as (address, _):
            with pytest.raises(NotFound, match=missing):
                await fetched(address, MemoryContent(), credentials=ann)
    assert heard == []


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"manifests": [], "layers": []}, media_types.OCI_INDEX),
        ({"manifests": [], "config": {}}, media_types.OCI_INDEX),
        ({"manifests": [], "fsLayers": []}, media_types.DOCKER_LIST),
        ({"config": {}, "layers": [], "manifests": []}, media_types.OCI_MANIFEST),
        ({"config": {}, "layers": [], "fsLayers": []}, media_types.DOCKER_MANIFEST),
    ],
)
async def test_cve_2021_41190_ambiguous_documents(document: dict[str, object], media_type: str) -> None:
    """GHSA-5j5w: what could be read as an index and as a manifest is neither; from a registry and in an archive."""
    await refused(honest, InvalidArgument, "ambiguous", image_with(document, media_type))
    data = documents.dump(document)
    entry = {"mediaType": media_type, "digest": digests.of(data), "size": len(data)}
    index = documents.dump({"manifests": [entry]})
    blob = f"blobs/sha256/{digests.of(data).partition(':')[2]}"
    archive = tar({"oci-layout": b"{}", "index.json": index, blob: data})
    with pytest.raises(InvalidArgument, match="ambiguous"):
        await taken_in(archive, StoreSink(MemoryContent()))


async def test_cve_2021_41190_a_media_type_that_the_registry_makes_up() -> None:
    """The same bytes must not be an index for one and a manifest for another, whatever the registry calls them."""

    async def lie(request: web.Request) -> web.Response | None:
        if "/manifests/" not in request.path:
            return None
        digest = IMAGE.target.digest
        headers = {"Content-Type": media_types.OCI_INDEX, "Docker-Content-Digest": digest}
        return web.Response(body=IMAGE.blobs[digest], headers=headers)

    await refused(lie, InvalidArgument, "it says that it is")
    plain = dict(documents.load(IMAGE.blobs[IMAGE.target.digest], "it"))
    del plain["mediaType"]
    await refused(honest, InvalidArgument, "no 'manifests'", image_with(plain, media_types.OCI_INDEX))


@pytest.mark.parametrize("name", ["oci-layout", "index.json", "manifest.json"])
async def test_cve_2023_25153_documents_of_an_archive_are_bounded(name: str) -> None:
    """A header that claims a huge document ends in an error before a byte of it is read."""

    class Endless(io.RawIOBase):
        """A tar header for so many bytes, and then bytes without end."""

        def __init__(self) -> None:
            info = tarfile.TarInfo(name)
            info.size = documents.MAX_SIZE + 1
            self.head, self.given = info.tobuf(), 0

        def read(self, size: int = -1) -> bytes:
            data, self.head = self.head[:size], self.head[size:]
            data += b" " * (size - len(data))
            self.given += len(data)
            return data

    file = Endless()
    with pytest.raises(ResourceExhausted, match=name):
        await import_archive(file, StoreSink(MemoryContent()))
    assert file.given < 1 << 20


async def test_cve_2023_25153_documents_named_by_an_archive_are_bounded() -> None:
    """The config and the manifests are blobs like layers, until they are read as documents."""
    config = b" " * (documents.MAX_SIZE + 1)
    members = {"manifest.json": b'[{"Config":"c","RepoTags":["a:b"],"Layers":[]}]', "c": config}
    store = MemoryContent()
    with pytest.raises(ResourceExhausted, match="allowed here"):
        await import_archive(tar(members), StoreSink(store))
    entry = {"mediaType": media_types.OCI_MANIFEST, "digest": digests.of(config), "size": len(config)}
    blob = f"blobs/sha256/{digests.of(config).partition(':')[2]}"
    index = documents.dump({"manifests": [entry]})
    with pytest.raises(ResourceExhausted):
        await taken_in(tar({"oci-layout": b"{}", "index.json": index, blob: config}), StoreSink(store))


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize("brackets", [b"[", b'{"a":'])
async def test_cve_2023_25153_documents_nested_without_end(depth: int, brackets: bytes) -> None:
    members = {"oci-layout": b"{}", "index.json": brackets * depth}
    with pytest.raises(CortenError, match=r"not JSON|allowed"):
        await import_archive(tar(members), StoreSink(MemoryContent()))


async def test_cve_2026_50195_names_in_an_archive_do_not_take_over_those_of_the_store() -> None:
    """Targets of an archive carry names as annotations; none is a name before whoever imports asks for it."""
    layer = IMAGE.blobs[LAYER]
    config = next(data for digest, data in IMAGE.blobs.items() if b"rootfs" in data and digest != LAYER)
    members = {"manifest.json": b'[{"Config":"c","RepoTags":["a:b"],"Layers":["l"]}]', "c": config, "l": layer}
    taken = await taken_in(tar(members), StoreSink(MemoryContent()))
    assert [target.annotations["io.containerd.image.name"] for target in taken.targets] == ["docker.io/library/a:b"]
    assert taken.index.annotations == {}
