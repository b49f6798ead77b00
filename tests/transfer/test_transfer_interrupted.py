"""Pulls that do not end well: clients that leave, a daemon that is killed, and images for several platforms."""

import asyncio
import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.progress_pb2 import Progress
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.errors import NotFound
from corten.oci_image import media_types
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")


def large_layer(tar: tarfile.TarFile) -> None:
    for number in range(12):
        images.file(tar, f"data/large{number}", os.urandom(1 << 20))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A large image, and one for two platforms with an attestation."""
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        write_large(folder / "large")
        images.push(folder / "large", f"{address}/lib/large:v1")
        write_both(folder / "both")
        argv = ["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false"]
        subprocess.run([*argv, f"oci:{folder}/both:latest", f"docker://{address}/lib/both:v1"], check=True)
        yield address


def write_large(folder: Path) -> None:
    layout = images.Layout(folder)
    plain = [images.tar_of(images.base_layer), images.tar_of(large_layer)]
    layers = [layout.blob(gzip.compress(each, 1), media_types.OCI_LAYER_GZIP) for each in plain]
    diff_ids = [layout.blob(each, "x")["digest"] for each in plain]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = layout.json({"architecture": "amd64", "os": "linux", "rootfs": rootfs}, media_types.OCI_CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": layers}
    entry(layout, layout.json(manifest, media_types.OCI_MANIFEST))


def write_both(folder: Path) -> None:
    layout = images.Layout(folder)
    entries = []
    for architecture in ("arm64", "amd64"):
        plain = images.tar_of(lambda tar, name=architecture: images.file(tar, name, name.encode()))  # type: ignore[misc]
        layer = layout.blob(gzip.compress(plain), media_types.OCI_LAYER_GZIP)
        rootfs = {"type": "layers", "diff_ids": [layout.blob(plain, "x")["digest"]]}
        config = layout.json({"architecture": architecture, "os": "linux", "rootfs": rootfs}, media_types.OCI_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": [layer]}
        target = layout.json(manifest, media_types.OCI_MANIFEST)
        entries.append({**target, "platform": {"os": "linux", "architecture": architecture}})
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
    entry(layout, layout.json(index, media_types.OCI_INDEX))


def entry(layout: images.Layout, target: dict[str, object]) -> None:
    target["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))


def source(name: str) -> OCIRegistry:
    return OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))


def store(name: str, *platforms: Platform, all_metadata: bool = False) -> ImageStore:
    unpacks = [UnpackConfiguration(platform=each, snapshotter="native") for each in platforms]
    return ImageStore(name=name, platforms=platforms, unpacks=unpacks, all_metadata=all_metadata)


async def keys(client: Client) -> list[str]:
    return [each.name async for each in client.snapshots("native").walk()]


async def until(check: object, what: str) -> None:
    for _ in range(200):
        if not await check():  # type: ignore[operator]
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


async def left_after(client: Client, name: str, events: int) -> None:
    """Begin a pull, and leave it after so many events, or when it is done before."""
    enough = asyncio.Event()
    seen = list[Progress]()

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) >= events:
            enough.set()

    task = asyncio.ensure_future(client.transfers.run(source(name), store(name, AMD64), watch))
    waiting = asyncio.ensure_future(enough.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    for each in (task, waiting):
        each.cancel()
    await asyncio.wait([task, waiting])


async def test_a_client_that_leaves_at_any_event_leaves_nothing_half_done(registry: str) -> None:
    name = f"{registry}/lib/large:v1"
    with running_daemon() as daemon:
        async with Client(daemon.address, "leave") as client:
            for leave_at in range(1, 30, 4):
                await left_after(client, name, leave_at)

            async def leases() -> object:
                return await client.leases.list()

            await until(leases, "a lease stays")
            await client.transfers.run(source(name), store(name, AMD64))
            found = await resolve(client, await client.images.get(name), None)
            assert found.top in await keys(client)

            async def unfinished() -> object:
                return [key for key in await keys(client) if key.startswith("extract-")]

            await until(unfinished, "a half unpacked layer stays")
            assert await client.content.statuses() == []
        daemon.stop()
        assert "never retrieved" not in daemon.log


async def test_a_daemon_that_is_killed_goes_on_with_the_pull(registry: str) -> None:
    """A pull takes a fraction of a second: it is tried until one was cut off."""
    name = f"{registry}/lib/large:v1"
    with running_daemon() as daemon:
        for attempt in range(12):
            if await cut_off(daemon, name, 0.3 * 0.7**attempt):
                break
        else:
            raise AssertionError("every pull was done before the daemon was killed")
        async with Client(daemon.address, "kill") as client:
            await client.transfers.run(source(name), store(name, AMD64))
            found = await resolve(client, await client.images.get(name))
            assert found.top in await keys(client)


async def cut_off(daemon: Daemon, name: str, after: float) -> bool:
    """Kill the daemon so many seconds into a pull, and start it again; whether the pull was not done by then."""
    async with Client(daemon.address, "kill") as client:
        if name in [image.name for image in await client.images.list()]:
            await client.images.delete(name, sync=True)
        task = asyncio.ensure_future(client.transfers.run(source(name), store(name, AMD64)))
        await asyncio.sleep(after)
        daemon.kill()
        await asyncio.wait([task])
    daemon.start()
    return task.exception() is not None


async def test_images_for_several_platforms(registry: str) -> None:
    name = f"{registry}/lib/both:v1"
    with running_daemon() as daemon:
        async with Client(daemon.address, "one") as client:
            await client.transfers.run(source(name), store(name, AMD64))
            assert await kinds(client) == {"index": 1, "manifest": 1, "config": 1, "layer": 1}
        async with Client(daemon.address, "metadata") as client:
            await client.transfers.run(source(name), store(name, AMD64, all_metadata=True))
            assert await kinds(client) == {"index": 1, "manifest": 2, "config": 2, "layer": 1}
        async with Client(daemon.address, "both") as client:
            await client.transfers.run(source(name), store(name, AMD64, ARM64))
            assert await kinds(client) == {"index": 1, "manifest": 2, "config": 2, "layer": 2}
            assert len(await keys(client)) == 2
        async with Client(daemon.address, "all") as client:
            await client.transfers.run(source(name), ImageStore(name=name))
            assert (await kinds(client))["layer"] == 2
            await client.transfers.run(ImageStore(name=name), source(f"{registry}/copy/both:v1"))
        async with Client(daemon.address, "one") as client:
            with pytest.raises(NotFound, match="with --all-platforms, or push one of its images with --platform"):
                await client.transfers.run(ImageStore(name=name), source(f"{registry}/copy/part:v1"))


async def kinds(client: Client) -> dict[str, int]:
    """How many blobs there are of each kind, by what is in them."""
    counts = {"index": 0, "manifest": 0, "config": 0, "layer": 0}
    async for info in client.content.walk():
        data = await client.content.read_all(info.digest, 1 << 20)
        if not data.startswith(b"{"):
            counts["layer"] += 1
            continue
        document = json.load(io.BytesIO(data))
        kind = "index" if "manifests" in document else "manifest" if "layers" in document else "config"
        counts[kind] += 1
    return counts


async def test_a_pull_keeps_what_it_finds(registry: str) -> None:
    """Or the collector would take it while the pull is under way, if it was the last image's that had it."""
    name = f"{registry}/lib/five:v1"
    with running_daemon() as daemon:
        async with Client(daemon.address, "again") as client, client.leased() as held:
            await client.transfers.run(source(name), store(name, AMD64))
            found = await resolve(client, await client.images.get(name), None)
            await held.transfers.run(source(name), store(name, AMD64))
            kept = {(each.type, each.id) for each in await client.leases.resources(held.lease)}
            assert kept >= {("content", layer.digest) for layer in found.manifest.layers}
            assert ("snapshots/native", found.top) in kept
