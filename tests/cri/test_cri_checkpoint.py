"""CheckpointContainer, with stand-ins for criu and for what runc does with it: criu cannot dump on this kernel."""

import asyncio
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.client.client import Client
from corten.errors import CortenError, FailedPrecondition, InvalidArgument
from cri.cri_world import Cri, CriNode, cri_node

pytestmark = pytest.mark.integration

CRIU = '#!/bin/sh\n[ "$1" = check ]\n'
RUNC = """#!/bin/sh
for word; do
  [ "$before" = --image-path ] && folder=$word
  [ "$word" = checkpoint ] && wanted=1
  before=$word
done
[ -z "$wanted" ] && exec REAL "$@"
[ -e REFUSE ] && echo "criu failed: type NOTIFY errno 0" >&2 && exit 1
mkdir -p "$folder" && echo pages > "$folder/pages-1.img"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    folder = tmp_path_factory.mktemp("criu")
    real = shutil.which("runc") or "/usr/sbin/runc"
    for name, text in (("criu", CRIU), ("runc-standin", RUNC.replace("REAL", real).replace("REFUSE", f"{folder}/no"))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    extra = f"    containerd: {{runtimes: {{runc: {{options: {{BinaryName: {folder}/runc-standin}}}}}}}}\n"
    with cri_node(folder / "node", extra, env={"PATH": f"{folder}:{os.environ['PATH']}"}) as made:
        yield made


async def checkpoint(cri: Cri, container: str, location: object) -> None:
    request = pb.CheckpointContainerRequest(container_id=container, location=str(location))
    await cri.call("CheckpointContainer", request)


async def test_a_checkpoint_has_all_that_tools_look_at(cri: Cri, tmp_path: Path) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "echo said; echo made > /made; sleep 1000")
    while await cri.output(container, "sh", "-c", "cat /made || true") != "made":
        continue
    target = tmp_path / "deep.tar"
    target.symlink_to(tmp_path / "elsewhere")
    await checkpoint(cri, container, target)
    assert not target.is_symlink() and not (tmp_path / "elsewhere").exists(), "a link at its place is not followed"
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        members = {member.name.removeprefix("./") for member in archive.getmembers()}
        assert members >= {"checkpoint/pages-1.img", "config.dump", "spec.dump", "status.dump", "container.log"}

        def read(name: str) -> bytes:
            file = archive.extractfile(f"./{name}")
            assert file is not None
            return file.read()

        assert json.loads(read("config.dump"))["rootfsImageName"] == cri.node.image()
        assert json.loads(read("spec.dump"))["process"]["args"][0] == "sh"
        assert json.loads(read("status.dump"))["id"] == container and b"said" in read("container.log")
        with tarfile.open(fileobj=io.BytesIO(read("rootfs-diff.tar"))) as changed:
            assert "made" in {member.name for member in changed.getmembers()}
    assert (await cri.status(container)).state == pb.CONTAINER_RUNNING


async def test_a_collection_meanwhile_takes_nothing_of_it(cri: Cri, tmp_path: Path) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    collecting = asyncio.create_task(_collect(cri))
    try:
        for number in range(5):
            await checkpoint(cri, container, tmp_path / f"{number}.tar")
    finally:
        collecting.cancel()


async def _collect(cri: Cri) -> None:
    async with Client(cri.node.daemon.address, "k8s.io") as client:
        while True:
            lease = await client.leases.create()
            await client.leases.delete(lease.id, sync=True)


async def test_what_fails_leaves_nothing_and_the_container_runs_on(cri: Cri, tmp_path: Path) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    refuse = cri.node.conf.parent.parent / "no"
    refuse.touch()
    try:
        with pytest.raises(CortenError, match=f"checkpoint of container {container}: .*criu failed"):
            await checkpoint(cri, container, tmp_path / "a.tar")
    finally:
        refuse.unlink()
    with pytest.raises(CortenError, match="cannot write"):
        await checkpoint(cri, container, tmp_path / "none/a.tar")
    with pytest.raises(InvalidArgument, match="absolute path"):
        await checkpoint(cri, container, "a.tar")
    state = cri.node.daemon.state / "io.containerd.grpc.v1.cri"
    assert list(tmp_path.iterdir()) == [] and not list(state.glob("checkpoint-*"))
    await cri.stop(container)
    with pytest.raises(FailedPrecondition, match="does not run"):
        await checkpoint(cri, container, tmp_path / "a.tar")
