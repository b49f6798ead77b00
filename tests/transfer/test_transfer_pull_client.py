"""A client that unpacks in parallel by itself, as containerd's does where it finds the capability `rebase`."""

import asyncio
from collections.abc import Iterator

import images
import peers
import pytest
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.contracts.mounts import Mount
from corten.errors import NotFound
from corten.oci_image import gc_labels
from corten.oci_image.unpack import UnpackStep, plan
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


async def filled(client: Client, step: UnpackStep) -> None:
    """Prepare without the parent, and unpack for an overlay that has no lower layers yet."""
    (mount,) = await client.snapshots("overlayfs").prepare(step.key, "", step.labels)
    upper = Mount("overlay", "overlay", options=("rw", f"upperdir={mount.source}")) if step.parent else mount
    assert (await client.diff.apply(step.layer, [upper])).digest == step.diff_id


async def test_layers_at_once_and_parents_at_commit(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "default") as first, first.leased() as client:
        source = OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))
        await client.transfers.run(source, ImageStore(name=name))
        assert "rebase" in (await client.introspection.plugin("io.containerd.snapshotter.v1", "overlayfs")).capabilities
        found = await resolve(client, await client.images.get(name))
        steps, snapshots = plan(found.manifest.layers, found.config.diff_ids), client.snapshots("overlayfs")
        await asyncio.gather(*(filled(client, step) for step in reversed(steps)))
        with pytest.raises(NotFound):
            await snapshots.commit(steps[1].chain_id, steps[1].key, {}, steps[1].parent)
        for step in steps:
            await snapshots.commit(step.chain_id, step.key, step.labels, step.parent)
        assert (await snapshots.stat(steps[3].chain_id)).parent == steps[2].chain_id
        # As in containerd, who has a parent already keeps it.
        await snapshots.prepare("other", steps[0].chain_id)
        await snapshots.commit("kept", "other", {}, steps[1].chain_id)
        assert (await snapshots.stat("kept")).parent == steps[0].chain_id
        top = gc_labels.of_unpacked("overlayfs", found.top)
        await client.content.label(found.manifest.config.digest, top)
    said = await asyncio.to_thread(daemon.ctr, "run", "--rm", name, "one", "sh", "-c", "cat /data/changed; ls /data")
    assert said.startswith("second") and "gone" not in said and "opaque" in said
