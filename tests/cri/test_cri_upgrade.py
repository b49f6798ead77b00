"""The package is replaced while the daemon runs: what a kubelet asks for every day does not need its files any more."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from corten import CONTAINERD_VERSION
from corten.api.cri.v1 import runtime_pb2 as pb
from cri.cri_world import Cri, CriNode, cri_node, until
from cri.stream_world import SpdyClient, run_spdy

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
SETTINGS = "  io.containerd.nri.v1.nri: {disable: true}\ndebug: {level: debug}\n"
COPIED = "v0.0.0+copied"
IMPORTS = 60.0
"""Seconds in which what is imported beside all calls must be there."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of all that is installed as Corten's, with a version of its own."""
    copy = tmp_path / "package"
    for source in [REPOSITORY / "core/corten", *REPOSITORY.glob("plugins/*/corten_*")]:
        shutil.copytree(source, copy / source.name)
    version = copy / "corten/__init__.py"
    version.write_text(version.read_text().replace(CONTAINERD_VERSION, COPIED))
    return copy


@pytest.fixture
def started_from_copy(tmp_path: Path, package: Path) -> Iterator[CriNode]:
    with cri_node(tmp_path / "node", SETTINGS, env={"PYTHONPATH": str(package)}) as node:
        yield node


@pytest.fixture
async def cri(started_from_copy: CriNode) -> AsyncIterator[Cri]:
    async with started_from_copy.client() as client:
        assert f"v{(await client.call('Version', pb.VersionRequest())).runtime_version}" == COPIED
        yield client


async def test_a_kubelet_is_served_while_the_package_is_away(cri: Cri, package: Path) -> None:
    await cri.run_pod()

    async def at_hand() -> bool:
        return "modules of pulls are at hand" in cri.node.daemon.log

    await until(at_hand, "the modules of pulls are imported", IMPORTS)
    package.rename(package.with_name("replaced"))
    await cri.call("Status", pb.StatusRequest(verbose=True))
    await cri.pull()
    pod = await cri.run_pod(cri.networked())
    container = await _containers(cri, pod)
    await _streams(cri, pod, container)
    await _figures(cri, container)
    await cri.stop(container)
    await cri.remove(container)
    await cri.remove_pod(pod)


async def _containers(cri: Cri, pod: str) -> str:
    container = await cri.started(pod, "sleep", "1000")
    await cri.info(container)
    await cri.pod_info(pod)
    assert await cri.output(container, "echo", "probed") == "probed"
    assert await cri.printed(pod, "echo", "logged") == "logged"
    await cri.call("ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=container))
    limits = pb.LinuxContainerResources(cpu_shares=100)
    update = pb.UpdateContainerResourcesRequest(container_id=container, linux=limits)
    await cri.call("UpdateContainerResources", update)
    return container


async def _streams(cri: Cri, pod: str, container: str) -> None:
    asked = pb.ExecRequest(container_id=container, cmd=["echo", "streamed"], stdout=True)
    url = (await cri.call("Exec", asked)).url
    assert (await run_spdy(url, "stdout"))["stdout"] == b"streamed\n"
    url = (await cri.call("Exec", asked)).url
    protocols = ["v5.channel.k8s.io"]
    async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=protocols) as socket:
        said = b"".join([message.data async for message in socket])
    assert b"streamed" in said
    url = (await cri.call("PortForward", pb.PortForwardRequest(pod_sandbox_id=pod))).url
    client = await SpdyClient.connect(url, "portforward.k8s.io")
    error = client.open(streamType="error", port="9", requestID="0")
    client.open(streamType="data", port="9", requestID="0")
    while error not in client.ended and await client.read_some():
        pass
    await client.close()
    assert b"refused" in client.received[error]


async def _figures(cri: Cri, container: str) -> None:
    reply = await cri.call("ContainerStats", pb.ContainerStatsRequest(container_id=container))
    assert reply.stats.cpu.usage_core_nano_seconds.value
    await cri.call("ListContainerStats", pb.ListContainerStatsRequest())
    await cri.call("ListPodSandboxStats", pb.ListPodSandboxStatsRequest())
    await cri.call("ListPodSandboxMetrics", pb.ListPodSandboxMetricsRequest())
    await cri.call("ImageFsInfo", pb.ImageFsInfoRequest())
    assert (await cri.call("ListImages", pb.ListImagesRequest())).images
