"""A snapshotter behind a socket keeps the contract, and is a plugin when the configuration names it."""

import asyncio
from pathlib import Path

import pytest
from corten.client.proxy import ProxySnapshotter
from corten.config.settings import ProxyPlugin
from corten.errors import Internal, InvalidArgument, Unavailable
from corten.plugin.proxies import proxies
from corten.testing.snapshots import checks
from corten_snapshotters.native import NativeSnapshotter
from corten_snapshotters.overlayfs import OverlayfsSnapshotter
from snapshots.proxies import served

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", checks(mounts=True))
async def test_the_contract(name: str, memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed / "root")
    async with served(memory_backed / "s.sock", snapshotter):
        proxy = ProxySnapshotter(str(memory_backed / "s.sock"), "proxied")
        await proxy.start()
        try:
            await asyncio.to_thread(checks(mounts=True)[name], proxy)
        finally:
            proxy.close()
    snapshotter.close()


async def test_the_namespace_of_a_key_is_passed_on(memory_backed: Path) -> None:
    snapshotter = NativeSnapshotter(memory_backed / "root")
    async with served(memory_backed / "s.sock", snapshotter) as behind:
        proxy = ProxySnapshotter(str(memory_backed / "s.sock"), "proxied")
        await proxy.start()
        await asyncio.to_thread(proxy.prepare, "blue/12/key")
        assert (await asyncio.to_thread(snapshotter.stat, "blue/12/key")).name == "blue/12/key"
        assert behind.namespaces == {"blue"}
        await asyncio.to_thread(proxy.prepare, "key")
        assert behind.namespaces == {"blue", "default"}
        with pytest.raises(Internal, match="event loop"):
            proxy.stat("key")
        proxy.close()
    snapshotter.close()


async def test_nobody_there(tmp_path: Path) -> None:
    proxy = ProxySnapshotter(str(tmp_path / "none.sock"), "proxied")
    with pytest.raises(Unavailable, match="proxied: it is not started"):
        proxy.stat("key")
    await proxy.start()
    with pytest.raises(Unavailable, match=r"none\.sock"):
        await asyncio.to_thread(proxy.stat, "key")
    proxy.close()


def test_entries_become_registrations() -> None:
    entry = ProxyPlugin("snapshot", "/run/x.sock", "linux/amd64", {"root": "/x"}, ("rebase",))
    (found,) = proxies({"stargz": entry, "later": ProxyPlugin("sandbox", "/run/y.sock")})
    assert found.uri == "io.containerd.snapshotter.v1.stargz" and not found.builtin
    registration = found.registration
    assert (registration.platforms, registration.capabilities) == (("linux/amd64",), ("rebase",))
    assert registration.exports == {"root": "/x", "address": "/run/x.sock"}
    (differ,) = proxies({"d": ProxyPlugin("diff", "/run/x.sock")})
    assert differ.uri == "io.containerd.differ.v1.d"
    (content,) = proxies({"far": ProxyPlugin("io.containerd.content.v1", "/run/x.sock")})
    assert content.uri == "io.containerd.content.v1.far"
    with pytest.raises(InvalidArgument, match="its id"):
        list(proxies({"not an id": entry}))
