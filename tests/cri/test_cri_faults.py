"""What happens when something that CRI needs fails: a runtime, the network, the registry, the disk, the daemon."""

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from cri.cri_world import CriNode, cri_node, run, until

pytestmark = pytest.mark.integration

RUNC = """#!/bin/sh
case "$*" in
*"{verb}"*) if [ -e {folder}/fail ]; then echo 'level=error msg="it is broken today"' >&2; exit 1; fi ;;
esac
exec runc "$@"
"""
RUNC_DELETE = """#!/bin/sh
case "$*" in
*" delete "*) if rm {folder}/fail-once 2>/dev/null; then echo 'level=error msg="not now"' >&2; exit 1; fi ;;
esac
exec runc "$@"
"""
CNI = """#!/bin/sh
if [ "$CNI_COMMAND" = VERSION ]; then echo '{{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}}'; exit 0; fi
[ -e {folder}/fail ] && {{ echo '{{"cniVersion":"1.0.0","code":100,"msg":"no network today"}}'; exit 1; }}
if [ "$CNI_COMMAND" = ADD ]; then echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.9.9/24"}}]}}'; fi
exit 0
"""


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    """A node with handlers whose runc fails on demand, at create and at start, and a network that does."""
    folder = tmp_path_factory.mktemp("frail")
    for verb in ("create", "start"):
        program(folder / f"runc-{verb}", RUNC.format(verb=f" {verb} ", folder=folder))
    program(folder / "runc-delete", RUNC_DELETE.format(folder=folder))
    program(folder / "bin/broken", CNI.format(folder=folder))
    (folder / "broken.d").mkdir()
    (folder / "broken.d/1.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "broken", "plugins": [{"type": "broken"}]}'
    )
    extra = f"""
    containerd:
      runtimes:
        create: {{options: {{BinaryName: {folder}/runc-create}}}}
        start: {{options: {{BinaryName: {folder}/runc-start}}}}
        delete: {{options: {{BinaryName: {folder}/runc-delete}}}}
        network: {{cni_conf_dir: {folder}/broken.d}}
"""
    with cri_node(folder / "node", extra, bin_dirs=f"/usr/lib/cni, {folder}/bin") as node:
        (folder / "fail").touch()
        yield node


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def fail(frail: CriNode) -> Path:
    """While this file is there, things fail."""
    config = (frail.daemon.folder / "config.yaml").read_text()
    path = Path(next(w for w in config.replace("}", " ").split() if w.endswith("runc-create"))).parent / "fail"
    path.touch()
    return path


@pytest.mark.parametrize("verb", ["create", "start"])
async def test_a_runc_that_fails_is_told_and_leaves_nothing_running(frail: CriNode, fail: Path, verb: str) -> None:
    async with frail.client() as cri:
        await cri.pull()
        pod = await cri.run_pod(handler=verb)
        container = await cri.create(pod, cri.config("sleep", "1000"))
        with pytest.raises(CortenError, match=r"OCI runtime \w+ failed"):
            await cri.start(container)
        status = await cri.status(container)
        assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 128, "StartError")
        tasks = frail.daemon.state / "io.containerd.runtime.v2.task" / "k8s.io"
        assert not list(tasks.glob("*"))
        fail.unlink()
        again = await cri.started(pod, "sleep", "1000")
        assert (await cri.status(again)).state == pb.CONTAINER_RUNNING


async def test_a_pod_is_stopped_although_its_pause_process_cannot_be_deleted_at_once(
    frail: CriNode, fail: Path
) -> None:
    once = fail.with_name("fail-once")
    async with frail.client() as cri:
        pod = await cri.run_pod(handler="delete")

        async def paused() -> bool:
            return bool((await cri.pod_info(pod))["pid"])

        await until(paused, "the pod has a pause process")
        once.touch()
        await cri.stop_pod(pod)
        assert not once.exists()
        assert (await cri.pod_info(pod))["pid"] == 0


async def test_a_network_that_fails_leaves_no_pod_and_the_name_free(frail: CriNode, fail: Path) -> None:
    async with frail.client() as cri:
        config = cri.networked()
        with pytest.raises(CortenError, match="no network today"):
            await cri.run_pod(config, handler="network")
        fail.unlink()
        kept = frail.daemon.root / "io.containerd.grpc.v1.cri" / "sandboxes"
        pod = await cri.run_pod(config, handler="network")
        assert [each.id for each in await cri.pods()] == [pod]
        assert [path.name for path in kept.iterdir()] == [pod]
        assert (await cri.pod_status(pod)).network.ip == "10.9.9.9"
        fail.touch()
        with pytest.raises(CortenError, match="no network today"):
            await cri.stop_pod(pod)
        assert (await cri.pod_status(pod)).state == pb.SANDBOX_NOTREADY
        fail.unlink()
        await cri.remove_pod(pod)
        assert list(kept.iterdir()) == []


async def test_a_registry_that_is_gone_is_named(frail: CriNode) -> None:
    async with frail.client() as cri:
        image = pb.ImageSpec(image="127.0.0.1:1/gone:latest")
        with pytest.raises((Unavailable, NotFound), match=r"127\.0\.0\.1:1"):
            await cri.call("PullImage", pb.PullImageRequest(image=image))
        await cri.pull()
        assert (await cri.call("ListImages", pb.ListImagesRequest())).images


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """The state folder of pods is full: what cannot be written is an error, and nothing is left of it."""
    with cri_node(tmp_path / "node") as node:
        async with node.client() as cri:
            await cri.pull()
            pods = node.daemon.root / "io.containerd.grpc.v1.cri" / "sandboxes"
            pods.mkdir(exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(pods))
            try:
                (pods / "filler").write_bytes(b"x" * (60 << 10))
                with pytest.raises(ResourceExhausted, match="No space left"):
                    await cri.run_pod()
                assert await cri.pods() == []
                assert [path.name for path in pods.iterdir()] == ["filler"]
                (pods / "filler").unlink()
                pod = await cri.run_pod()
                assert (await cri.pod_status(pod)).state == pb.SANDBOX_READY
                await cri.remove_pod(pod)
            finally:
                run("umount", "-l", str(pods))


def has_interface(namespace: str) -> bool:
    """Whether a network namespace is there and has its interface; it may go at any moment."""
    argv = ["nsenter", f"--net={namespace}", "ip", "-o", "link"]
    return "eth0" in subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize("step", ["container", "address", "namespace"])
async def test_a_daemon_killed_while_it_removes_a_pod_can_be_asked_again(frail: CriNode, fail: Path, step: str) -> None:
    fail.unlink(missing_ok=True)
    async with frail.client() as cri:
        await cri.pull()
        pod = await cri.run_pod(cri.networked())
        container = await cri.started(pod, "sleep", "1000")
        pid, path = (
            (await cri.info(container))["pid"],
            (await cri.pod_info(pod))["sandboxMetadata"]["Metadata"]["NetNSPath"],
        )
        kept = frail.daemon.root / "io.containerd.grpc.v1.cri"
        reached: Callable[[], bool] = {
            "container": lambda: not os.path.exists(f"/proc/{pid}"),
            "address": lambda: not has_interface(path),
            "namespace": lambda: not os.path.exists(path),
        }[step]
        removing = asyncio.ensure_future(cri.remove_pod(pod))

        async def there() -> bool:
            return bool(reached()) or removing.done()

        await until(there, f"step {step}")
        await cri.restart(frail.daemon.kill)
        await asyncio.wait([removing])
        removing.exception()
        await cri.remove_pod(pod)
        assert await cri.pods() == []
        assert list((kept / "sandboxes").iterdir()) == list((kept / "containers").iterdir()) == []
        assert not os.path.exists(path)


async def test_a_client_that_leaves_while_a_container_starts_leaves_a_whole_container(frail: CriNode) -> None:
    async with frail.client() as cri:
        await cri.pull()
        pod = await cri.run_pod()
        container = await cri.create(pod, cri.config("sleep", "1000"))
        with pytest.raises(CortenError):
            await cri.call("StartContainer", pb.StartContainerRequest(container_id=container), timeout=0.005)
        with suppress(FailedPrecondition):  # unless the call never arrived, it is being started, or runs
            await cri.start(container)
        await cri.in_state(container, pb.CONTAINER_RUNNING)
