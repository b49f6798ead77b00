"""What a container may do and see: users, groups, capabilities, seccomp, paths, namespaces, devices."""

import os
from pathlib import Path
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, NotFound
from cri.cri_world import Cri, context, privileged_pod

pytestmark = pytest.mark.integration

ID = "id -u; id -g; id -G"


def number(value: int) -> pb.Int64Value:
    return pb.Int64Value(value=value)


@pytest.mark.parametrize(
    ("image", "fields", "expected"),
    [
        ("busy", {}, "0 0 0"),
        ("users", {}, "1000 1000 1000 50000"),
        ("users", {"supplemental_groups_policy": pb.Strict}, "1000 1000 1000"),
        ("users", {"supplemental_groups": [7]}, "1000 1000 7 1000 50000"),
        ("users", {"supplemental_groups": [7], "supplemental_groups_policy": pb.Strict}, "1000 1000 7 1000"),
        ("users", {"run_as_user": number(4321)}, "4321 0 0"),
        ("users", {"run_as_user": number(1000), "run_as_group": number(33)}, "1000 33 33 50000"),
        ("users", {"run_as_username": "root"}, "0 0 0"),
    ],
)
async def test_users_and_groups(cri: Cri, image: str, fields: dict[str, Any], expected: str) -> None:
    await cri.pull(image)
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000", image=image, linux=context(**fields))
    uid, gid, groups = (await cri.output(container, "sh", "-c", ID)).splitlines()
    assert [uid, gid, *sorted(groups.split(), key=int)] == expected.split()
    told = (await cri.status(container)).user.linux
    assert [told.uid, told.gid, *sorted(told.supplemental_groups)] == [int(word) for word in expected.split()]


@pytest.mark.parametrize(
    "fields",
    [
        {"run_as_group": number(1)},
        {"run_as_user": number(-1)},
        {"run_as_user": number(1 << 31)},
        {"run_as_username": "4294967296"},
        {"supplemental_groups": [1 << 40]},
    ],
)
async def test_ids_out_of_range_are_refused(cri: Cri, fields: dict[str, Any]) -> None:
    pod = await cri.run_pod()
    with pytest.raises(InvalidArgument):
        await cri.create(pod, cri.config("true", linux=context(**fields)))


async def capabilities(cri: Cri, container: str, kind: str) -> int:
    status = await cri.output(container, "cat", "/proc/self/status")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"Cap{kind}:")), 16)


NET_ADMIN, CHOWN, NET_RAW = 1 << 12, 1 << 0, 1 << 13


async def test_capabilities_are_added_and_dropped(cri: Cri) -> None:
    pod = await cri.run_pod()
    plain = await cri.started(pod, "sleep", "1000")
    changed = await cri.started(
        pod, "sleep", "1000",
        linux=context(capabilities=pb.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["CAP_CHOWN"])),
    )  # fmt: skip
    only = await cri.started(
        pod, "sleep", "1000",
        linux=context(capabilities=pb.Capability(add_capabilities=["NET_RAW"], drop_capabilities=["ALL"])),
    )  # fmt: skip
    assert await capabilities(cri, plain, "Eff") & (NET_ADMIN | CHOWN | NET_RAW) == CHOWN | NET_RAW
    assert await capabilities(cri, changed, "Eff") & (NET_ADMIN | CHOWN | NET_RAW) == NET_ADMIN | NET_RAW
    assert await capabilities(cri, only, "Bnd") == NET_RAW
    with pytest.raises(InvalidArgument, match="NO_SUCH"):
        bad = context(capabilities=pb.Capability(add_capabilities=["NO_SUCH"]))
        await cri.create(pod, cri.config("true", linux=bad))


async def test_ambient_capabilities_reach_a_process_that_is_not_root(cri: Cri) -> None:
    await cri.pull("users")
    pod = await cri.run_pod()
    wanted = pb.Capability(add_capabilities=["NET_ADMIN"], add_ambient_capabilities=["NET_ADMIN"])
    printed = await cri.printed(
        pod, "grep", "CapEff", "/proc/self/status", image="users", linux=context(capabilities=wanted)
    )
    assert int(printed.split()[1], 16) == NET_ADMIN
    without = pb.Capability(add_capabilities=["NET_ADMIN"])
    printed = await cri.printed(
        pod, "grep", "CapEff", "/proc/self/status", image="users", linux=context(capabilities=without)
    )
    assert int(printed.split()[1], 16) == 0


async def test_privileged_containers_need_a_privileged_pod_and_get_the_host_s_devices(cri: Cri) -> None:
    with pytest.raises(InvalidArgument, match="no privileged container allowed in sandbox"):
        await cri.create(await cri.run_pod(), cri.config("true", linux=context(privileged=True)))
    pod = await cri.run_pod(privileged_pod(cri))
    container = await cri.started(pod, "sleep", "1000", linux=context(privileged=True))
    bounding = int(next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd")
    ), 16)  # fmt: skip
    assert await capabilities(cri, container, "Eff") == bounding
    assert "loop-control" in await cri.output(container, "ls", "/dev") or not os.path.exists("/dev/loop-control")
    await cri.output(container, "sh", "-c", "mkdir /mnt && /bin/busybox mount -t tmpfs x /mnt")
    assert (await cri.info(container))["runtimeSpec"]["linux"].get("seccomp") is None


async def test_masked_and_read_only_paths_are_those_of_the_request(cri: Cri) -> None:
    pod = await cri.run_pod()
    paths = context(masked_paths=["/proc/meminfo", "/data"], readonly_paths=["/tmp"])
    container = await cri.started(pod, "sleep", "1000", linux=paths)
    assert await cri.output(container, "cat", "/proc/meminfo") == ""
    assert (await cri.exec(container, "touch", "/tmp/x")).exit_code == 1
    assert (await cri.exec(container, "touch", "/home/x")).exit_code == 0


async def test_a_read_only_root_can_still_be_given_volumes(cri: Cri, tmp_path: Path) -> None:
    pod = await cri.run_pod()
    mounts = [pb.Mount(container_path="/writable/here", host_path=str(tmp_path))]
    container = await cri.started(pod, "sleep", "1000", linux=context(readonly_rootfs=True), mounts=mounts)
    assert (await cri.exec(container, "touch", "/home/x")).exit_code == 1
    assert (await cri.exec(container, "touch", "/writable/here/x")).exit_code == 0
    assert (tmp_path / "x").exists()


async def test_no_new_privileges(cri: Cri) -> None:
    pod = await cri.run_pod()
    for wanted in (True, False):
        printed = await cri.printed(pod, "grep", "NoNewPrivs", "/proc/self/status", linux=context(no_new_privs=wanted))
        assert printed.split()[1] == str(int(wanted))


async def test_seccomp_profiles(cri: Cri, tmp_path: Path) -> None:
    pod = await cri.run_pod()
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    kinds = pb.SecurityProfile
    for seccomp, filtered, mkdir in (
        (None, "0", 0),
        (kinds(profile_type=kinds.Unconfined), "0", 0),
        (kinds(profile_type=kinds.RuntimeDefault), "2", 0),
        (kinds(profile_type=kinds.Localhost, localhost_ref=str(profile)), "2", 1),
    ):
        fields = {} if seccomp is None else {"seccomp": seccomp}
        container = await cri.started(pod, "sleep", "1000", linux=context(**fields))
        status = await cri.output(container, "grep", "Seccomp:", "/proc/self/status")
        assert status.split()[1] == filtered
        assert (await cri.exec(container, "mkdir", "/home/new")).exit_code == mkdir
    for bad, error in (
        (kinds(profile_type=kinds.Localhost, localhost_ref=str(tmp_path / "absent")), NotFound),
        (kinds(profile_type=kinds.Localhost), InvalidArgument),
        (kinds(profile_type=kinds.RuntimeDefault, localhost_ref="x"), InvalidArgument),
    ):
        with pytest.raises(error):
            await cri.create(pod, cri.config("true", linux=context(seccomp=bad)))


@pytest.mark.skipif(os.path.exists("/sys/module/apparmor"), reason="this host has AppArmor")
async def test_apparmor_that_the_host_does_not_have_is_refused_by_name(cri: Cri) -> None:
    pod = await cri.run_pod()
    wanted = pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
    with pytest.raises(FailedPrecondition, match="AppArmor is not enabled on this host"):
        await cri.create(pod, cri.config("true", linux=context(apparmor=wanted)))
    none = pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)
    assert (await cri.ended(await cri.started(pod, "true", linux=context(apparmor=none)))).exit_code == 0


async def test_process_namespaces(cri: Cri) -> None:
    pod = await cri.run_pod()
    host = os.readlink("/proc/self/ns/pid")

    async def namespace(container: str) -> str:
        return await cri.output(container, "readlink", "/proc/self/ns/pid")

    own = await cri.started(pod, "sleep", "1000")
    shared = pb.NamespaceOption(network=pb.NODE, pid=pb.NODE)
    on_host = await cri.started(pod, "sleep", "1000", linux=context(namespace_options=shared))
    target = pb.NamespaceOption(network=pb.NODE, pid=pb.TARGET, target_id=own)
    beside = await cri.started(pod, "sleep", "1001", linux=context(namespace_options=target))
    assert await namespace(own) != host
    assert await namespace(on_host) == host
    assert await namespace(beside) == await namespace(own)
    assert "sleep 1001" in await cri.output(own, "ps")
    elsewhere = await cri.started(await cri.run_pod(), "sleep", "1000")
    for id, error in ((elsewhere, InvalidArgument), ("0000", NotFound)):
        options = pb.NamespaceOption(network=pb.NODE, pid=pb.TARGET, target_id=id)
        with pytest.raises(error):
            await cri.create(pod, cri.config("true", linux=context(namespace_options=options)))


async def test_devices_with_their_permissions(cri: Cri) -> None:
    pod = await cri.run_pod()
    device = pb.Device(host_path="/dev/null", container_path="/dev/nothing", permissions="r")
    container = await cri.started(pod, "sleep", "1000", devices=[device])
    assert "crw" in await cri.output(container, "ls", "-l", "/dev/nothing")
    absent = pb.Device(host_path="/dev/absent", container_path="/dev/absent", permissions="rwm")
    with pytest.raises(NotFound, match="/dev/absent"):
        await cri.create(pod, cri.config("true", devices=[absent]))
    bad = pb.Device(host_path="/dev/null", container_path="/dev/x", permissions="xyz")
    with pytest.raises(CortenError, match="xyz"):
        await cri.create(pod, cri.config("true", devices=[bad]))


async def test_environment_directory_terminal_and_arguments(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(
        pod, "sh", "-c", args=["pwd; echo $GREETING; test -t 1 && echo terminal"], working_dir="/home",
        envs=[pb.KeyValue(key="GREETING", value=b"hello")], tty=True,
    )  # fmt: skip
    await cri.ended(container)
    assert (await cri.log(container)).replace("\r", "").split() == ["/home", "hello", "terminal"]
    image_command = await cri.create(pod, cri.config())
    await cri.start(image_command)
    assert (await cri.info(image_command))["runtimeSpec"]["process"]["args"] == ["sleep", "1000"]


async def test_annotations_reach_the_spec_by_the_handler_s_lists_only(cri: Cri) -> None:
    pod = await cri.run_pod(cri.pod_config(annotations={"a.example/x": "1"}))
    container = await cri.create(pod, cri.config("true", annotations={"b.example/y": "2"}))
    found = (await cri.info(container))["runtimeSpec"]["annotations"]
    assert "a.example/x" not in found and "b.example/y" not in found
    assert found["io.kubernetes.cri.sandbox-id"] == pod
    assert (await cri.status(container)).annotations == {"b.example/y": "2"}
