"""Settings that change how containers are made and run: an overlay that is volatile, a limit on output that is held."""

from collections.abc import Iterator

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import Unknown
from cri.cri_world import CriNode, cri_node, run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    extra = """
    drain_exec_sync_io_timeout: 1s
  io.containerd.snapshotter.v1.overlayfs:
    mount_options: [volatile]
  io.containerd.cri.v1.images:
    pinned_images: {sandbox: REGISTRY/test/users:latest}
"""
    with cri_node(tmp_path_factory.mktemp("settings"), extra) as made:
        yield made


async def test_output_that_is_held_longer_than_allowed_is_an_error(node: CriNode) -> None:
    async with node.client() as cri:
        await cri.pull()
        container = await cri.started(await cri.run_pod(), "sleep", "1000")
        with pytest.raises(Unknown, match=r"failed to drain exec process .* in 1s"):
            await cri.exec(container, "sh", "-c", "sleep 999 &")
        assert (await cri.exec(container, "sh", "-c", "sleep 0.2 & echo out")).stdout == b"out\n"


async def test_users_and_volumes_are_read_from_an_overlay_that_is_volatile(node: CriNode) -> None:
    """Such an overlay can be mounted once only: what is read beforehand is mounted without its upper directory."""
    async with node.client() as cri:
        await cri.pull("volumes")
        container = await cri.started(await cri.run_pod(), "sleep", "1000", image="volumes")
        assert await cri.output(container, "cat", "/data/kept") == "from the image"
        mounts = await cri.output(container, "cat", "/proc/self/mountinfo")
        assert "volatile" in next(line for line in mounts.splitlines() if " / / " in line)


async def test_a_pinned_image_is_so_from_the_first_sight_whoever_pulls_it(node: CriNode) -> None:
    async with node.client() as cri:
        name = node.image("users")
        run("ctr", "-a", node.daemon.address, "-n", "k8s.io", "images", "pull", "--plain-http", name)
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=name))
        while not (reply := await cri.call("ImageStatus", request)).HasField("image"):
            pass
        assert reply.image.pinned
