"""`unpack_config`: what may be unpacked, and by what."""

from collections.abc import Iterator

import images
import peers
import pytest
from corten import platforms
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.errors import InvalidArgument
from daemon import running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
HOST = platforms.host()
HERE = Platform(os=HOST.os, architecture=HOST.architecture, variant=HOST.variant)
CONFIG = """
plugins:
  io.containerd.transfer.v1.local:
    max_concurrent_unpacks: 1
    check_platform_supported: true
    unpack_config:
    - {platform: linux/s390x, snapshotter: native}
    - {platform: HOST, snapshotter: overlayfs, config_type: application/vnd.example.other}
    - {platform: HOST, snapshotter: overlayfs, differ: walking, layer_types: [LAYER]}
    - {snapshotter: far, optional: true}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


async def pull(client: Client, name: str, snapshotter: str) -> None:
    source = OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))
    unpack = UnpackConfiguration(platform=HERE, snapshotter=snapshotter)
    await client.transfers.run(source, ImageStore(name=name, platforms=[HERE], unpacks=[unpack]))


async def test_entries_choose(registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    config = CONFIG.replace("HOST", str(HOST)).replace("LAYER", "application/vnd.oci.image.layer.v1.tar+gzip")
    with running_daemon(config=config) as daemon:
        async with Client(daemon.address, "chosen") as client:
            await pull(client, name, "overlayfs")
            found = await resolve(client, await client.images.get(name))
            assert (await client.snapshots("overlayfs").stat(found.top)).kind == "committed"
            with pytest.raises(InvalidArgument, match="unpack_config has nothing for snapshotter native"):
                await pull(client, name, "native")


def test_what_is_not_there_is_said_at_start() -> None:
    config = "plugins:\n  io.containerd.transfer.v1.local:\n    unpack_config: [{snapshotter: far, differ: none}]\n"
    with running_daemon(config=config) as daemon:
        said = daemon.corten("plugins", "explain", "io.containerd.transfer.v1.local").stdout
        assert "snapshotter 'far' and differ 'none'" in said
