"""Remote snapshotters: what they are told, what is not fetched then, and what the image says of it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import images
import peers
import pytest
from corten import platforms
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.contracts.mounts import Mount
from corten.errors import AlreadyExists, NotFound, Unavailable
from corten.linux.mount import unmount_all
from corten.oci_image.unpack import ABSENT, IMAGE_REF, LAYER, LAYERS, MANIFEST, SNAPSHOT_REF
from corten_snapshotters.overlayfs import OverlayfsSnapshotter
from daemon import Daemon, running_daemon
from snapshots.proxies import served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
HOST = platforms.host()
HERE = Platform(os=HOST.os, architecture=HOST.architecture, variant=HOST.variant)


class Remote(OverlayfsSnapshotter):
    """Has some layers already, as one that mounts them from afar; `known` are the digests of their blobs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.known: set[str] = set()
        self.told: list[Mapping[str, str]] = []

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        found = dict(labels or {})
        if SNAPSHOT_REF in found:
            self.told.append(found)
        if found.get(LAYER) not in self.known:
            return super().prepare(key, parent, labels)
        super().prepare(key, parent, labels)
        self.commit(f"remote-{found[SNAPSHOT_REF]}", key, labels)
        raise AlreadyExists("it is here already")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@asynccontextmanager
async def remote_daemon(annotations: bool = True) -> AsyncIterator[tuple[Daemon, Remote]]:
    folder = Path(tempfile.mkdtemp(prefix="corten-test-", dir="/dev/shm"))
    exports = "{enable_remote_snapshot_annotations: 'true'}" if annotations else "{}"
    config = f"proxy_plugins:\n  far: {{type: snapshot, address: {folder}/far.sock, exports: {exports}}}\n"
    snapshotter = Remote(folder / "far")
    try:
        async with served(folder / "far.sock", snapshotter):
            started = running_daemon(config=config)
            daemon = await asyncio.to_thread(started.__enter__)
            try:
                yield daemon, snapshotter
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)
    finally:
        snapshotter.close()
        unmount_all(folder)
        shutil.rmtree(folder)


async def pull(client: Client, name: str, snapshotter: str) -> None:
    source = OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))
    unpack = UnpackConfiguration(platform=HERE, snapshotter=snapshotter)
    await client.transfers.run(source, ImageStore(name=name, platforms=[HERE], unpacks=[unpack]))


async def test_what_the_snapshotter_has_is_not_fetched(registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with remote_daemon() as (daemon, far), Client(daemon.address, "remote") as client:
        await pull(client, name, "overlayfs")
        found = await resolve(client, await client.images.get(name))
        layers = [layer.digest for layer in found.manifest.layers]
        assert ABSENT not in (await client.images.get(name)).labels
        far.known = set(layers[:3])
        async with Client(daemon.address, "fresh") as fresh:
            await pull(fresh, name, "far")
            assert (await fresh.images.get(name)).labels[ABSENT] == ",".join(layers[:3])
            for number, layer in enumerate(layers):
                if number < 3:
                    with pytest.raises(NotFound):
                        await fresh.content.info(layer)
                else:
                    assert (await fresh.content.info(layer)).digest == layer
            check_told(far, name, found.target.digest, layers)
            assert (await fresh.snapshots("far").stat(found.top)).kind == "committed"
            assert len([info async for info in fresh.snapshots("far").walk()]) == 5
            # Fetched for a snapshotter that needs them, they are not absent any more.
            await pull(fresh, name, "overlayfs")
            assert ABSENT not in (await fresh.images.get(name)).labels


def check_told(far: Remote, name: str, manifest: str, layers: list[str]) -> None:
    assert [labels[LAYER] for labels in far.told] == layers
    assert {labels[IMAGE_REF] for labels in far.told} == {name}
    assert {labels[MANIFEST] for labels in far.told} == {manifest}
    assert far.told[1][LAYERS] == ",".join(layers[1:])


async def test_nothing_is_told_to_those_who_do_not_ask(registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with remote_daemon(annotations=False) as (daemon, far), Client(daemon.address, "plain") as client:
        await pull(client, name, "far")
        assert len(far.told) == 5 and not any(LAYER in labels for labels in far.told)
        assert ABSENT not in (await client.images.get(name)).labels
        plugin = await client.introspection.plugin("io.containerd.snapshotter.v1", "far")
        assert plugin.exports["address"].endswith("far.sock")


async def test_a_snapshotter_that_is_gone_is_one_clear_error(registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    config = "proxy_plugins:\n  far: {type: snapshot, address: /tmp/corten-nobody.sock}\n"
    with running_daemon(config=config) as daemon:
        async with Client(daemon.address, "gone") as client:
            with pytest.raises(Unavailable, match=r"corten-nobody\.sock"):
                await pull(client, name, "far")
            await pull(client, name, "overlayfs")
