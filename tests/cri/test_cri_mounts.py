"""Mounts of containers: propagation, recursive read-only, missing sources, images, and volumes that an image names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from cri.cri_world import Cri, CriNode, privileged_pod, run
from cri.cri_world import context as linux

pytestmark = pytest.mark.integration


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder on a mount that propagates."""
    folder = tmp_path / "shared"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "none", str(folder))
    run("mount", "--make-rshared", str(folder))
    (folder / "inner").mkdir()
    yield folder
    run("umount", "-R", str(folder))


@pytest.mark.parametrize(
    ("propagation", "to_container", "to_host"),
    [
        (pb.PROPAGATION_PRIVATE, False, False),
        (pb.PROPAGATION_HOST_TO_CONTAINER, True, False),
        (pb.PROPAGATION_BIDIRECTIONAL, True, True),
    ],
)
async def test_propagation(cri: Cri, shared: Path, propagation: int, to_container: bool, to_host: bool) -> None:
    pod = await cri.run_pod(privileged_pod(cri))
    mount = pb.Mount(container_path="/shared", host_path=str(shared), propagation=pb.MountPropagation.Name(propagation))
    container = await cri.started(pod, "sleep", "1000", mounts=[mount], linux=linux(privileged=True))
    run("mount", "-t", "tmpfs", "none", str(shared / "inner"))
    (shared / "inner" / "from-host").touch()
    assert (await cri.exec(container, "ls", "/shared/inner/from-host")).exit_code == (0 if to_container else 1)
    await cri.output(container, "sh", "-c", "mkdir -p /shared/other && busybox mount -t tmpfs x /shared/other")
    assert os.path.ismount(shared / "other") is to_host


async def test_a_source_that_does_not_propagate_is_refused(cri: Cri, tmp_path: Path) -> None:
    run("mount", "-t", "tmpfs", "none", str(tmp_path))
    run("mount", "--make-private", str(tmp_path))
    try:
        pod = await cri.run_pod()
        mount = pb.Mount(container_path="/x", host_path=str(tmp_path), propagation=pb.PROPAGATION_BIDIRECTIONAL)
        with pytest.raises(FailedPrecondition, match="not a shared mount"):
            await cri.create(pod, cri.config("true", mounts=[mount]))
    finally:
        run("umount", str(tmp_path))


async def test_a_missing_source_is_made_and_links_are_followed(cri: Cri, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("behind a link")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    pod = await cri.run_pod()
    mounts = [
        pb.Mount(container_path="/new", host_path=str(tmp_path / "new/deep")),
        pb.Mount(container_path="/linked", host_path=str(tmp_path / "link"), readonly=True),
    ]
    container = await cri.started(pod, "sleep", "1000", mounts=mounts)
    assert (tmp_path / "new/deep").is_dir()
    assert await cri.output(container, "cat", "/linked/file") == "behind a link"
    assert (await cri.exec(container, "touch", "/linked/x")).exit_code == 1


async def test_read_only_recursively(cri: Cri, shared: Path) -> None:
    run("mount", "-t", "tmpfs", "none", str(shared / "inner"))
    pod = await cri.run_pod()
    for recursive, writable in ((False, 0), (True, 1)):
        mount = pb.Mount(container_path="/m", host_path=str(shared), readonly=True, recursive_read_only=recursive)
        container = await cri.started(pod, "sleep", "1000", mounts=[mount])
        assert (await cri.exec(container, "touch", "/m/x")).exit_code == 1
        assert (await cri.exec(container, "touch", "/m/inner/x")).exit_code == writable
    for bad in (
        pb.Mount(container_path="/m", host_path=str(shared), recursive_read_only=True),
        pb.Mount(
            container_path="/m", host_path=str(shared), readonly=True, recursive_read_only=True,
            propagation=pb.PROPAGATION_HOST_TO_CONTAINER,
        ),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            await cri.create(pod, cri.config("true", mounts=[bad]))


async def test_images_are_mounted_read_only_with_a_sub_path(cri: Cri, node: CriNode) -> None:
    await cri.pull("users")
    pod = await cri.run_pod()
    image = pb.ImageSpec(image=node.image("users"))
    mounts = [
        pb.Mount(container_path="/whole", image=image, readonly=True),
        pb.Mount(container_path="/part", image=image, image_sub_path="data", readonly=True),
    ]
    container = await cri.started(pod, "sleep", "1000", mounts=mounts)
    assert await cri.output(container, "cat", "/part/kept") == "from the image"
    told = [mount.image.image_ref for mount in (await cri.status(container)).mounts]
    assert told == [await cri.pull("users")] * 2
    assert await cri.output(container, "cat", "/whole/data/kept") == "from the image"
    assert (await cri.exec(container, "touch", "/part/x")).exit_code == 1
    for path, error, why in (
        ("absent", NotFound, "no such file or directory"),
        ("data/kept", InvalidArgument, "only directory subpath is supported"),
        ("/data", InvalidArgument, "path escapes from parent"),
        ("data/../..", InvalidArgument, "path escapes from parent"),
        ("data/out/..", InvalidArgument, "path escapes from parent"),
    ):
        bad = pb.Mount(container_path="/bad", image=image, image_sub_path=path, readonly=True)
        with pytest.raises(error, match=f"ImageVolumeMountFailed.*{why}"):
            await cri.create(pod, cri.config("true", mounts=[bad]))


async def test_an_image_volume_is_volatile_and_where_containerd_has_it_and_goes_with_the_pod(
    cri: Cri, node: CriNode
) -> None:
    await cri.pull("users")
    pod = await cri.run_pod()
    mount = pb.Mount(container_path="/image", image=pb.ImageSpec(image=node.image("users")), readonly=True)
    await cri.started(pod, "sleep", "1000", mounts=[mount])
    folder = node.daemon.state / "io.containerd.grpc.v1.cri" / "image-volumes" / pod
    (place,) = folder.iterdir()
    held = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place} " in line]
    assert len(held) == 1 and "volatile" in held[0], held
    await cri.started(pod, "sleep", "1000", mounts=[mount])
    assert Path("/proc/self/mountinfo").read_text().count(f" {place} ") == 1, "one mount for all containers of the pod"
    assert str(place) in run("ctr", "-a", node.daemon.address, "-n", "k8s.io", "snapshots", "ls")
    await cri.remove_pod(pod)
    assert not folder.exists() and str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert str(place) not in run("ctr", "-a", node.daemon.address, "-n", "k8s.io", "snapshots", "ls")


async def test_volumes_of_an_image_have_its_content_and_owners(cri: Cri) -> None:
    await cri.pull("volumes")
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000", image="volumes")
    assert await cri.output(container, "cat", "/data/kept") == "from the image"
    assert await cri.output(container, "stat", "-c", "%u %a", "/data/deep") == "1000 750"
    assert await cri.output(container, "readlink", "/data/out") == "/etc"
    await cri.output(container, "touch", "/fresh/x", "/data/deep/x")
    mounts = (await cri.info(container))["runtimeSpec"]["mounts"]
    assert {m["destination"] for m in mounts if "/volumes/" in m["source"]} == {"/data", "/fresh"}
