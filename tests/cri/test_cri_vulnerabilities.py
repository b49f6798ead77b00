"""Vulnerabilities that CRI implementations had, each by its number: what was possible there is not here."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument
from cri.cri_world import EVIL_USERS, Cri, CriNode, context

pytestmark = pytest.mark.integration


async def test_cve_2021_21334_environments_of_one_image_do_not_mix(cri: Cri) -> None:
    """Containers of one image that are created at once."""
    pod = await cri.run_pod()
    configs = [cri.config("true", envs=[pb.KeyValue(key=f"K{n}", value=b"v")]) for n in range(12)]
    made = await asyncio.gather(*(cri.create(pod, config) for config in configs))
    for number, container in enumerate(made):
        env = (await cri.info(container))["runtimeSpec"]["process"]["env"]
        assert [word for word in env if word.startswith("K")] == [f"K{number}=v"]


async def test_cve_2021_41103_and_2024_25621_folders_are_closed_to_others(cri: Cri, node: CriNode) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    for top in (node.daemon.root, node.daemon.state):
        folder = top / "io.containerd.grpc.v1.cri"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "containers" / container).stat().st_mode) == 0o700


async def test_cve_2022_23648_volumes_are_resolved_inside_the_image(cri: Cri) -> None:
    await cri.pull("escape")
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000", image="escape")
    mounts = {
        mount["destination"]: Path(mount["source"])
        for mount in (await cri.info(container))["runtimeSpec"]["mounts"] if "/volumes/" in mount["source"]
    }  # fmt: skip
    assert sorted(mounts) == ["/etc", "/root"]
    of_pod = {"hostname", "hosts", "resolv.conf"}  # where the pod's own are mounted
    assert {path.name for path in mounts["/etc"].iterdir()} - of_pod == {"group", "passwd"}
    assert (mounts["/etc"] / "passwd").read_text().startswith("root:x:0:0:root:/root:/bin/sh\nuser:")
    assert list(mounts["/root"].iterdir()) == []


async def test_cve_2022_24769_nothing_is_inheritable(cri: Cri) -> None:
    pod = await cri.run_pod()
    wanted = pb.Capability(add_capabilities=["NET_ADMIN"])
    container = await cri.started(pod, "sleep", "1000", linux=context(capabilities=wanted))
    for pid in ("1", "self"):
        status = await cri.output(container, "grep", "CapInh", f"/proc/{pid}/status")
        assert int(status.split()[1], 16) == 0


async def test_cve_2023_25173_the_primary_group_is_among_the_groups(cri: Cri) -> None:
    await cri.pull("users")
    container = await cri.started(await cri.run_pod(), "sleep", "1000", image="users")
    assert "1000" in (await cri.output(container, "id", "-G")).split()


@pytest.mark.parametrize("number", range(len(EVIL_USERS)))
async def test_cve_2024_40635_and_2026_46680_numbers_neither_wrap_nor_are_names(cri: Cri, number: int) -> None:
    await cri.pull(f"user-{number}")
    pod = await cri.run_pod()
    with pytest.raises(InvalidArgument, match="is not a number from 0 to 2147483647"):
        await cri.create(pod, cri.config("true", image=f"user-{number}"))


@pytest.mark.parametrize("image", ["accounts", "device"])
async def test_cve_2026_47262_accounts_are_read_up_to_a_bound_from_a_file(cri: Cri, image: str) -> None:
    await cri.pull(image)
    pod = await cri.run_pod()
    with pytest.raises(InvalidArgument, match="/etc/passwd of the image"):
        await asyncio.wait_for(cri.create(pod, cri.config("true", image=image)), 30)


async def test_cve_2026_53488_labels_of_images_command_nothing(cri: Cri, node: CriNode) -> None:
    await cri.pull("labels")
    container = await cri.started(await cri.run_pod(), "sleep", "1000", image="labels")
    ctr = node.daemon.ctr.__class__(node.daemon.address, "k8s.io")
    told = ctr("containers", "info", container)
    assert "restart.loguri" not in told
    assert '"kept": "yes"' in told


async def test_cve_2024_3154_annotations_set_no_properties_of_units(cri: Cri) -> None:
    """And CVE-2023-6476: what is let through is matched whole."""
    evil = {"org.systemd.property.ExecStartPre": "/bin/x", "io.kubernetes.cri.sandbox-id": "other"}
    pod = await cri.run_pod(cri.pod_config(annotations=evil))
    container = await cri.create(pod, cri.config("true", annotations=evil))
    annotations = (await cri.info(container))["runtimeSpec"]["annotations"]
    assert "org.systemd.property.ExecStartPre" not in annotations
    assert annotations["io.kubernetes.cri.sandbox-id"] == pod


async def test_cve_2024_21626_no_directory_among_open_files(cri: Cri) -> None:
    await cri.pull("directory")
    pod = await cri.run_pod()
    image = cri.config("true", image="directory")
    for config in (
        image,
        cri.config("true", working_dir="/proc/self/fd/7"),
        cri.config("true", working_dir="/proc/../proc/thread-self/fd/7/.."),
        cri.config("true", working_dir="/dev/fd/7"),
    ):
        with pytest.raises(InvalidArgument, match="open files"):
            await cri.create(pod, config)


async def test_cve_2022_0811_sysctls_are_one_name_and_one_line(cri: Cri) -> None:
    for name, value in (
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/bin/x"),
        ("net.ipv4.ip_default_ttl", "64\nkernel.core_pattern = |/bin/x"),
        ("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/bin/x"),
    ):
        config = cri.networked()
        config.linux.sysctls[name] = value
        with pytest.raises(Exception, match=r"sysctl|shm_rmid_forced"):
            await cri.run_pod(config)
    assert await cri.pods() == []
    assert "/bin/x" not in Path("/proc/sys/kernel/core_pattern").read_text()


async def test_cve_2021_43816_files_of_the_host_keep_their_labels(cri: Cri, tmp_path: Path) -> None:
    """Files of the host at the places of files that the pod has of its own, with and without relabelling."""
    pod, label = await cri.run_pod(), b"system_u:object_r:etc_t:s0"
    places = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log")
    mounts = []
    for number, place in enumerate(places):
        file = tmp_path / str(number)
        file.write_text(place)
        os.setxattr(file, "security.selinux", label)
        mounts.append(pb.Mount(container_path=place, host_path=str(file), selinux_relabel=number % 2 == 1))
    container = await cri.started(pod, "sleep", "1000", mounts=mounts)
    for mount in mounts:
        assert await cri.output(container, "cat", mount.container_path) == mount.container_path
        assert os.getxattr(mount.host_path, "security.selinux") == label
    made = (await cri.info(container))["runtimeSpec"]["mounts"]
    for mount in mounts:
        (found,) = (each for each in made if each["destination"] == mount.container_path)
        assert found["source"] == mount.host_path and not {"z", "Z"} & set(found["options"])
