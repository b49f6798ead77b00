"""SIGKILL at any moment of a pull that unpacks, and trees damaged afterwards: the next pull ends right."""

import asyncio
import os
import time
from collections.abc import Iterator
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
from corten.errors import CortenError, DataLoss
from corten.linux.mount import temporary_mount
from corten.testing.trees import describe
from counts import count
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
HOST = platforms.host()
HERE = Platform(os=HOST.os, architecture=HOST.architecture, variant=HOST.variant)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    many = [*images.FIVE, *(files(number) for number in range(3))]
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "many", many), f"{address}/lib/many:v1")
        yield address


def files(number: int) -> images.Fill:
    def fill(tar: object) -> None:
        for each in range(300):
            images.file(tar, f"data/{number}/f{each}", os.urandom(4000))  # type: ignore[arg-type]

    return fill


async def pull(daemon: Daemon, name: str, snapshotter: str = "overlayfs") -> None:
    async with Client(daemon.address, "killed") as client:
        source = OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))
        unpack = UnpackConfiguration(platform=HERE, snapshotter=snapshotter)
        await client.transfers.run(source, ImageStore(name=name, platforms=[HERE], unpacks=[unpack]))


async def tree(daemon: Daemon, name: str, snapshotter: str = "overlayfs") -> object:
    async with Client(daemon.address, "killed") as client:
        found = await resolve(client, await client.images.get(name))
        key = f"look-{time.monotonic_ns()}"
        async with client.leased() as leased:
            with temporary_mount(await leased.snapshots(snapshotter).view(key, found.top)) as root:
                return describe(root)


@pytest.mark.timeout(120 + 10 * count("kill during unpack"))
async def test_killed_at_any_moment(registry: str) -> None:
    name, times = f"{registry}/lib/many:v1", count("kill during unpack")
    with running_daemon() as daemon:
        began = time.monotonic()
        await pull(daemon, name, "native")
        took = time.monotonic() - began
        expected = await tree(daemon, name, "native")
    with running_daemon() as daemon:
        for number in range(times):
            pulling = asyncio.ensure_future(pull(daemon, name))
            await asyncio.sleep(took * (number + 0.5) / times)
            daemon.kill()
            try:
                await pulling
            except CortenError:
                pass  # it was killed, unless it was done before
            daemon.start()
        await pull(daemon, name)
        assert await tree(daemon, name) == expected
        async with Client(daemon.address, "killed") as client:
            assert len([each async for each in client.snapshots("overlayfs").walk(["kind==committed"])]) == 8
            assert await client.content.statuses() == []


async def test_damage_by_a_power_loss_is_repaired_by_the_next_pull(registry: str) -> None:
    name = f"{registry}/lib/many:v1"
    with running_daemon() as daemon:
        await pull(daemon, name)
        expected = await tree(daemon, name)
        root = daemon.root / "io.containerd.snapshotter.v1.overlayfs"
        daemon.stop()
        (root / "clean").unlink()
        (root / "boot").write_text("another\n")
        for damaged in ("data/kept", "data/1/f7"):
            (found,) = root.glob(f"snapshots/*/fs/{damaged}")
            os.truncate(found, 0)
        daemon.start()
        with pytest.raises(DataLoss, match="pull the image again"):
            await tree(daemon, name)
        await pull(daemon, name)
        assert await tree(daemon, name) == expected
        assert not [path for path in Path(root / "snapshots").iterdir() if path.name.startswith("new-")]
