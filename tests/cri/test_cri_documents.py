"""OCI specs of containers as documents: user namespaces, which runc 1.1 cannot run, and what handlers change."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition
from corten.oci.image_defaults import ImageDefaults
from corten.oci.options import User
from corten_cri.config.runtime import Containerd, Handler, RuntimeConfig
from corten_cri.containers import confinement, documents
from corten_cri.containers.mounts import Wanted, all_mounts
from corten_cri.handlers import Features, Handlers, features_in
from corten_cri.namespaces.model import Pins
from corten_cri.parts import CriSettings, Parts
from corten_cri.pods import files, wanted
from corten_cri.state.pods import Pod

NOTHING = cast("Any", None)
MAPS = [pb.IDMapping(container_id=0, host_id=200_000, length=65_536)]


def parts(folder: Path, config: RuntimeConfig | None = None, specs: dict[str, Any] | None = None) -> Parts:
    """As much of them as making a spec needs."""
    config = config or RuntimeConfig()
    return Parts(
        settings=CriSettings(config, specs or {}), images=NOTHING, server_config=NOTHING, root=folder / "root",
        state=folder / "state", metadata=NOTHING, sandboxes=NOTHING, leases=NOTHING, runtime=NOTHING,
        exchange=NOTHING, pools=NOTHING, supervisor=NOTHING, workers=NOTHING, hooks=NOTHING, plugins={},
        namespaces=NOTHING, handlers=Handlers(config, NOTHING, lambda *_: ""), store=NOTHING, network=NOTHING,
    )  # fmt: skip


def pod(**security: Any) -> Pod:
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name="p", uid="u", namespace="n"),
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent="/kubepods/pod-u", security_context=pb.LinuxSandboxSecurityContext(**security)
        ),
    )
    return Pod("pod-id", "p_n_u_0", config, "runc", pins=Pins("/ns/net", "/ns/ipc", "/ns/uts", "/ns/user"))


def build(made: Parts, of: Pod, config: pb.ContainerConfig, **changes: Any) -> dict[str, Any]:
    given = documents.Ingredients(config, of.config, ImageDefaults(cmd=("run",)), "image", User(), (), "")
    return documents.build(made, of, "ctr", confinement.Host(), replace(given, **changes))


def test_a_user_namespace_is_the_pod_s_and_below_the_kubelet_s_cgroup(tmp_path: Path) -> None:
    """CVE-2025-47291: such pods were not below the cgroup that the kubelet limits."""
    options = pb.NamespaceOption(userns_options=pb.UserNamespace(mode=pb.POD, uids=MAPS, gids=MAPS))
    of = pod(namespace_options=options)
    document = build(parts(tmp_path), of, pb.ContainerConfig())
    linux = document["linux"]
    assert {"type": "user", "path": "/ns/user"} in linux["namespaces"]
    mapping = {"containerID": 0, "hostID": 200_000, "size": 65_536}
    assert linux["uidMappings"] == linux["gidMappings"] == [mapping]
    assert linux["cgroupsPath"] == "/kubepods/pod-u/ctr"


def test_the_pod_s_files_are_id_mapped_in_a_user_namespace(tmp_path: Path) -> None:
    options = pb.NamespaceOption(userns_options=pb.UserNamespace(mode=pb.POD, uids=MAPS, gids=MAPS))
    of, made = pod(namespace_options=options), parts(tmp_path)
    files.write(files.folder(made.root, of.id), of.config)
    mounts = all_mounts(made, of, Wanted(pb.ContainerConfig(), Features(), {}))
    mapped = {mount.destination for mount in mounts if mount.uid_mappings and mount.gid_mappings}
    assert mapped == {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}


@pytest.mark.parametrize(
    ("features", "why"),
    [
        ({}, "has no user namespaces"),
        ({"linux": {"namespaces": ["user"]}}, "has no idmapped mounts"),
        ({"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": True}}}}, ""),
    ],
)
def test_features_say_why_there_are_no_user_namespaces(features: dict[str, Any], why: str) -> None:
    annotations = {"org.opencontainers.runc.version": "1.1.5"}
    found = features_in({**features, "annotations": annotations}).why_no_user_namespaces
    assert found.startswith(f"runtime 1.1.5 {why}") if why else found == ""


def test_pods_with_a_user_namespace_get_no_pings_of_the_host_s_groups() -> None:
    options = pb.NamespaceOption(userns_options=pb.UserNamespace(mode=pb.POD, uids=MAPS, gids=MAPS))
    own = wanted.sysctls(pod(namespace_options=options).config, RuntimeConfig())
    assert own == {"net.ipv4.ip_unprivileged_port_start": "0"}
    assert "net.ipv4.ping_group_range" in wanted.sysctls(pod().config, RuntimeConfig())
    assert wanted.sysctls(pod(namespace_options=pb.NamespaceOption(network=pb.NODE)).config, RuntimeConfig()) == {}


def test_a_base_spec_is_where_a_handler_s_containers_begin(tmp_path: Path) -> None:
    base = {
        "ociVersion": "1.0.2",
        "process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}},
    }
    config = RuntimeConfig(containerd=Containerd(runtimes={"runc": Handler(base_runtime_spec="base.json")}))
    document = build(parts(tmp_path, config, {"base.json": base}), pod(), pb.ContainerConfig())
    assert document["process"]["rlimits"][0]["soft"] == 77
    assert document["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}
    assert "cwd" in base["process"] and "args" not in base["process"]


def test_annotations_are_let_through_by_the_handler_s_patterns(tmp_path: Path) -> None:
    handler = Handler(pod_annotations=("a.example/*",), container_annotations=("c.example.*",))
    config = RuntimeConfig(containerd=Containerd(runtimes={"runc": handler}))
    of = pod()
    of.config.annotations.update({"a.example/x": "1", "a.example/x/y": "2", "c.example.pod": "3"})
    asked = pb.ContainerConfig(annotations={"c.example.z": "4", "a.example/z": "5"})
    found = build(parts(tmp_path, config), of, asked)["annotations"]
    assert {key: value for key, value in found.items() if "example" in key} == {"a.example/x": "1", "c.example.z": "4"}


def test_privileged_without_the_host_s_devices(tmp_path: Path) -> None:
    privileged = pb.ContainerConfig(
        linux=pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(privileged=True))
    )
    of = pod(privileged=True)
    everything = [{"allow": True, "access": "rwm"}]
    for handler, devices, rule in (
        (Handler(), True, True),
        (Handler(privileged_without_host_devices=True), False, False),
        (
            Handler(privileged_without_host_devices=True, privileged_without_host_devices_all_devices_allowed=True),
            False,
            True,
        ),
    ):
        config = RuntimeConfig(containerd=Containerd(runtimes={"runc": handler}))
        linux = build(parts(tmp_path, config), of, privileged)["linux"]
        assert bool(linux.get("devices")) is devices
        assert (linux["resources"]["devices"] == everything) is rule


def test_classes_of_blockio_and_rdt_are_refused_unless_told_to_be_ignored(tmp_path: Path) -> None:
    asked = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"))
    of = pod()
    of.config.annotations["rdt.resources.beta.kubernetes.io/container.c"] = "gold"
    with pytest.raises(FailedPrecondition, match="rdt class 'gold'"):
        build(parts(tmp_path), of, asked)
    ignoring = RuntimeConfig(containerd=Containerd(ignore_rdt_not_enabled_errors=True))
    assert build(parts(tmp_path, ignoring), of, asked)


def test_huge_pages_are_limited_only_where_the_settings_say(tmp_path: Path) -> None:
    limits = [pb.HugepageLimit(page_size="2MB", limit=4 << 20)]
    asked = pb.ContainerConfig(
        linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(hugepage_limits=limits))
    )
    assert "hugepageLimits" not in build(parts(tmp_path), pod(), asked)["linux"]["resources"]


def test_unified_limits_and_cpusets_are_passed_on(tmp_path: Path) -> None:
    resources = pb.LinuxContainerResources(
        cpuset_cpus="0-1", cpuset_mems="0", unified={"memory.high": "1000"}, memory_swap_limit_in_bytes=1 << 30,
        memory_limit_in_bytes=1 << 29,
    )  # fmt: skip
    asked = pb.ContainerConfig(linux=pb.LinuxContainerConfig(resources=resources))
    found = build(parts(tmp_path), pod(), asked)["linux"]["resources"]
    assert found["cpu"] == {"cpus": "0-1", "mems": "0"}
    assert found["unified"] == {"memory.high": "1000"}
    assert found["memory"]["limit"] == 1 << 29
