"""Runtime handlers: a pause process from an image, Debian's shim, streams, annotations that are let through."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from cri.cri_world import Cri, CriNode, cri_node, until

pytestmark = pytest.mark.integration

SHIM = shutil.which("containerd-shim-runc-v2") or ""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    """A node with handlers; its pause image is one that sleeps."""
    extra = f"""
    containerd:
      runtimes:
        always: {{pause: always, pod_annotations: [example/*]}}
        shim: {{runtime_path: {SHIM or "/none"}}}
        streamed: {{io_type: streaming}}
        bare: {{pause: needed}}
        leaving: {{runtime_type: io.containerd.runc.v2}}
  io.containerd.cri.v1.images:
    pinned_images: {{sandbox: REGISTRY/test/busy:latest}}
"""
    with cri_node(tmp_path_factory.mktemp("handlers"), extra) as made:
        yield made


async def test_a_handler_may_want_a_pause_process_from_an_image(node: CriNode) -> None:
    """Which is pulled when it is not there."""
    async with node.client() as cri:
        pod = await cri.run_pod(cri.networked(annotations={"example/a": "1", "other": "2"}), handler="always")
        info = await cri.pod_info(pod)

        async def runs() -> bool:  # for a moment after its start it is runc still
            return Path(f"/proc/{info['pid']}/cmdline").read_bytes() == b"sleep\x001000\0"

        await until(runs, "the image's program is the pause process")
        assert (
            Path(f"/proc/{info['pid']}/ns/net").stat().st_ino
            == Path(info["sandboxMetadata"]["Metadata"]["NetNSPath"]).stat().st_ino
        )
        assert (await cri.pod_status(pod)).runtime_handler == "always"
        container = await cri.started(pod, "sleep", "1000")
        annotations = (await cri.info(container))["runtimeSpec"]["annotations"]
        assert annotations["example/a"] == "1" and "other" not in annotations
        await cri.restart(node.daemon.kill)
        assert (await cri.pod_status(pod)).state == pb.SANDBOX_READY
        await cri.stop_pod(pod)
        assert not Path(f"/proc/{info['pid']}").exists()
        images = (await cri.call("ListImages", pb.ListImagesRequest())).images
        assert [image.pinned for image in images] == [True]


async def test_a_pause_process_that_ends_leaves_no_task(node: CriNode) -> None:
    async with node.client() as cri:
        pod = await cri.run_pod(handler="always")
        container = await cri.started(pod, "sleep", "1000")
        os.kill((await cri.pod_info(pod))["pid"], signal.SIGKILL)
        await until(lambda: not_ready(cri, pod), "the pod is not ready")
        info = await cri.pod_info(pod)
        assert info["pid"] == 0 and (await cri.status(container)).state == pb.CONTAINER_RUNNING


async def not_ready(cri: Cri, pod: str) -> bool:
    gone = (await cri.pod_info(pod))["pid"] == 0
    return gone and bool((await cri.pod_status(pod)).state == pb.SANDBOX_NOTREADY)


async def test_a_shim_waits_for_the_first_container_of_a_pod(node: CriNode) -> None:
    """Forked before the container is asked for; of a pod that gets no pause process, which would take it."""
    async with node.client() as cri:
        await cri.pull()

        async def waited() -> bool:
            """It is made beside all calls, so that the first pod's container may be faster."""
            pod = await cri.run_pod(handler="bare")
            container = await cri.create(pod, cri.config("sleep", "1000"))
            before = {each.pid for each in psutil.Process(node.daemon.pid).children(recursive=True)}
            await cri.start(container)
            shim = psutil.Process((await cri.info(container))["pid"]).ppid()
            await cri.remove_pod(pod)
            return shim in before

        await until(waited, "a shim waits")


@pytest.mark.skipif(not SHIM, reason="containerd-shim-runc-v2 is not on PATH")
async def test_another_shim_runs_pods_with_logs_and_execs(node: CriNode) -> None:
    async with node.client() as cri:
        await cri.pull()
        pod = await cri.run_pod(cri.networked(), handler="shim")
        container = await cri.started(pod, "sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 4")
        assert await cri.output(container, "echo", "exec") == "exec"
        ended = await cri.ended(container)
        assert ended.exit_code == 4
        assert sorted((await cri.log(container)).splitlines()) == ["err", "out"]
        runs = await cri.started(pod, "sleep", "1000")
        await cri.restart(node.daemon.kill)
        assert (await cri.status(runs)).state == pb.CONTAINER_RUNNING
        await cri.remove_pod(pod)
        assert await cri.containers() == []


async def test_stdio_may_go_by_streams_of_the_shim(node: CriNode) -> None:
    async with node.client() as cri:
        await cri.pull()
        pod = await cri.run_pod(cri.networked(), handler="streamed")
        container = await cri.started(pod, "sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 4")
        assert await cri.output(container, "echo", "exec") == "exec"
        ended = await cri.ended(container)
        assert ended.exit_code == 4
        assert sorted((await cri.log(container)).splitlines()) == ["err", "out"]
        runs = await cri.started(pod, "sh", "-c", "echo before; sleep 1; echo after; sleep 1000")
        await cri.restart(node.daemon.kill)
        assert (await cri.status(runs)).state == pb.CONTAINER_RUNNING
        assert await cri.output(runs, "seq", "20000") == "".join(f"{n}\n" for n in range(1, 20001)).rstrip()

        async def logged() -> bool:
            return await cri.log(runs) == "before\nafter"

        await until(logged, "both lines in the log")
        await cri.remove_pod(pod)
        assert await cri.containers() == []


async def test_a_pod_outlives_its_handler(node: CriNode) -> None:
    """Taken out of the configuration: its pods are known after the restart, and can be stopped and removed."""
    path = node.daemon.folder / "config.yaml"
    text = path.read_text()
    async with node.client() as cri:
        await cri.pull()
        pods = [await cri.run_pod(handler="leaving"), await cri.run_pod()]
        containers = [await cri.started(pod, "sleep", "1000") for pod in pods]
        try:
            path.write_text("".join(line for line in text.splitlines(keepends=True) if "leaving:" not in line))
            await cri.restart(node.daemon.stop)
            for pod, container in zip(pods, containers, strict=True):
                assert (await cri.pod_status(pod)).state == pb.SANDBOX_READY
                assert (await cri.status(container)).state == pb.CONTAINER_RUNNING
                await cri.stop(container)
                await cri.stop_pod(pod)
                await cri.remove_pod(pod)
        finally:
            path.write_text(text)
            await cri.restart(node.daemon.stop)
