"""A content store behind a socket keeps the contract, and holds a daemon's blobs when the configuration names it.

The peers are another cortend, Debian's containerd and, if CORTEN_CONTAINERD2 names one, a containerd 2.x.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from commands import Corten
from corten import digests
from corten.client.client import Client
from corten.client.proxy_content import NAMESPACE, ProxyContent
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.errors import Unavailable
from corten.oci_image import media_types
from corten.testing.content import checks, put
from daemon import running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
CHECKS = checks(labels=False)
CONTAINERDS = {"Debian's": "containerd", "2.x": os.environ.get("CORTEN_CONTAINERD2", "")}
ELSE = {
    "sha512": "containerd's store makes sha256 only",
    "resume_by_sha512": "containerd's store makes sha256 only",
    "one_writer_per_ref": "containerd aborts an ingest under its writer",
    "ingest_status": "containerd does not tell what is expected",
    "another_total": "containerd takes any total",
}
"""Where containerd's own store is otherwise, which no client can make up for."""


@pytest.fixture(scope="module")
def ours() -> Iterator[str]:
    with running_daemon() as daemon:
        yield daemon.address


@pytest.fixture(scope="module", params=sorted(CONTAINERDS))
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not (program := CONTAINERDS[request.param]):
        pytest.skip("CORTEN_CONTAINERD2 does not name a containerd 2.x")
    with peers.containerd(tmp_path_factory.mktemp("containerd"), program) as address:
        yield address


async def started(address: str) -> ProxyContent:
    store = ProxyContent(address, "far")
    await store.start()
    return store


async def emptied(address: str) -> None:
    """Drop what is there, and have it collected: a peer shares what other namespaces have, collected or not."""
    async with Client(address, NAMESPACE) as client:
        for info in [info async for info in client.content.walk()]:
            await client.content.delete(info.digest)
        for status in await client.content.statuses():
            await client.content.abort(status.ref)
        await client.images.put(Image("x", Descriptor(media_types.OCI_INDEX, digests.of(b"none"), 4)))
        await client.images.delete("x", sync=True)


async def kept(name: str, address: str) -> None:
    await emptied(address)
    store = await started(address)
    try:
        await asyncio.to_thread(CHECKS[name], store)
    finally:
        store.close()


@pytest.mark.parametrize("name", sorted(CHECKS))
async def test_the_contract_in_front_of_cortend(name: str, ours: str) -> None:
    await kept(name, ours)


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - ELSE))
async def test_the_contract_in_front_of_containerd(name: str, theirs: str) -> None:
    await kept(name, theirs)


async def test_blobs_are_not_collected_where_they_are(ours: str, theirs: str) -> None:
    for address in (ours, theirs):
        await emptied(address)
        store = await started(address)
        digest = await asyncio.to_thread(put, store, b"nobody over there refers to this")
        async with Client(address, NAMESPACE) as client:
            await client.images.put(Image("x", Descriptor(media_types.OCI_INDEX, digests.of(b"none"), 4)))
            await client.images.delete("x", sync=True)
        assert (await asyncio.to_thread(store.info, digest)).size == 32
        store.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


def settings(address: str) -> str:
    return (
        f"proxy_plugins:\n  far: {{type: content, address: {address}}}\n"
        "disabled_plugins: [io.containerd.content.v1.content]\n"
    )


async def digests_of(address: str, namespace: str) -> set[str]:
    async with Client(address, namespace) as client:
        return {info.digest async for info in client.content.walk()}


async def test_a_daemon_whose_blobs_are_elsewhere(theirs: str, registry: str, tmp_path: Path) -> None:
    """Pulled, unpacked, read, exported, taken in again, and collected over there when nothing here refers to it."""
    await emptied(theirs)
    name, archive = f"{registry}/lib/five:v1", str(tmp_path / "a.tar")
    with running_daemon(config=settings(theirs)) as daemon:
        corten = Corten(daemon, "far")
        await asyncio.to_thread(corten, "pull", name)
        have = await digests_of(daemon.address, "far")
        assert len(have) == 7 and have == await digests_of(theirs, NAMESPACE)
        assert not (daemon.root / "io.containerd.content.v1.content").exists()
        said = await asyncio.to_thread(peers.Ctr(daemon.address, "far"), "images", "check")
        assert "complete (6/6)" in said
        assert await asyncio.to_thread(corten, "run", "--rm", name, "cat", "/data/changed") == "second"
        await asyncio.to_thread(corten, "export", archive, name)
        await asyncio.to_thread(corten, "image", "rm", "--sync", name)
        assert await digests_of(daemon.address, "far") == set() == await digests_of(theirs, NAMESPACE)
        await asyncio.to_thread(corten, "import", archive)
        assert await digests_of(theirs, NAMESPACE) == have
        assert "nothing" in await asyncio.to_thread(corten, "image", "inspect", name)
        await asyncio.to_thread(corten, "push", name, f"{registry}/copy/five:v1")


async def test_nobody_there(tmp_path: Path) -> None:
    """The daemon starts, and says what is missing when it is needed."""
    with running_daemon(config=settings(f"{tmp_path}/none.sock")) as daemon:
        async with Client(daemon.address, "far") as client:
            with pytest.raises(Unavailable, match=r"none\.sock"):
                await client.content.put("ref", b"x", Descriptor("", digests.of(b"x"), 1))
