"""What the node tells of itself."""

import json
import os

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.warnings import Deprecation
from corten.errors import FailedPrecondition, NotFound
from corten_cri.config.runtime import Handler, RuntimeConfig
from corten_cri.handlers import features_in
from corten_cri.status.node import no_warnings
from corten_cri.status.settings import document
from cri.cri_world import Cri


@pytest.mark.integration
async def test_conditions_handlers_and_features(cri: Cri) -> None:
    reply = await cri.call("Status", pb.StatusRequest())
    conditions = {each.type: each for each in reply.status.conditions}
    assert conditions.keys() == {"RuntimeReady", "NetworkReady", "ContainerdHasNoDeprecationWarnings"}
    assert all(each.status for each in conditions.values()), conditions
    assert [each.name for each in reply.runtime_handlers] == ["", "runc"]
    assert reply.runtime_handlers[0].features == reply.runtime_handlers[1].features
    assert reply.features.supplemental_groups_policy and not reply.info


@pytest.mark.integration
async def test_the_verbose_status_has_the_settings_in_containerds_words(cri: Cri) -> None:
    info = (await cri.call("Status", pb.StatusRequest(verbose=True))).info
    config = json.loads(info["config"])
    assert config["containerd"]["runtimes"]["runc"]["runtimeType"] == "io.containerd.runc.v2"
    assert config["containerd"]["defaultRuntimeName"] == "runc" and config["cni"]["binDirs"] == ["/usr/lib/cni"]
    assert config["drainExecSyncIOTimeout"] == "0s", "durations are text, in Go's notation"
    assert config["enableCDI"] is True and config["rootDir"].startswith(str(cri.node.daemon.root))
    assert config["containerdEndpoint"] == str(cri.node.daemon.address), "tools look for it"
    runc = config["containerd"]["runtimes"]["runc"]
    assert runc["options"]["SystemdCgroup"] is False and runc["privileged_without_host_devices"] is False
    assert json.loads(info["cniconfig"])["Networks"], info.keys()


@pytest.mark.integration
async def test_the_cgroup_driver_is_that_of_the_host_unless_a_handler_says(cri: Cri) -> None:
    driver = (await cri.call("RuntimeConfig", pb.RuntimeConfigRequest())).linux.cgroup_driver
    assert (driver == pb.SYSTEMD) == os.path.isdir("/run/systemd/system")
    network = pb.NetworkConfig(pod_cidr="10.1.0.0/16")
    await cri.call("UpdateRuntimeConfig", pb.UpdateRuntimeConfigRequest(runtime_config={"network_config": network}))


@pytest.mark.integration
async def test_the_version_is_containerds_for_tools(cri: Cri) -> None:
    reply = await cri.call("Version", pb.VersionRequest())
    assert (reply.runtime_name, reply.runtime_api_version) == ("containerd", "v1") and reply.runtime_version[0] == "2"


@pytest.mark.integration
async def test_a_checkpoint_that_criu_cannot_make_is_refused_with_the_reason(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    request = pb.CheckpointContainerRequest(container_id=container, location="/tmp/never.tar")
    from corten_cri.checkpointing import criu_cannot

    if not criu_cannot():
        pytest.skip("criu works here")
    with pytest.raises(FailedPrecondition, match="criu cannot work on this host: ") as raised:
        await cri.call("CheckpointContainer", request)
    assert "not installed" in str(raised.value) or "criu check" in str(raised.value)
    with pytest.raises(NotFound):
        await cri.call("CheckpointContainer", pb.CheckpointContainerRequest(container_id="none", location="/x"))


def test_deprecations_make_the_condition_untrue_unless_they_are_ignored() -> None:
    warnings = [Deprecation("a", "first", 1), Deprecation("b", "second", 2)]
    found = no_warnings(warnings, ("a",))
    assert not found.status and found.reason == "ContainerdHasDeprecationWarnings"
    assert json.loads(found.message) == {"b": "second"}
    assert no_warnings(warnings, ("a", "b")).status and no_warnings([], ()).status


@pytest.mark.parametrize(
    ("features", "why", "recursive"),
    [
        ({"linux": {"namespaces": ["user"]}, "mountOptions": ["rro"]}, "idmapped mounts", True),
        ({"linux": {"namespaces": ["pid"]}}, "no user namespaces", False),
        ({"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": True}}}}, "", False),
    ],
)
def test_user_namespaces_and_read_only_mounts_are_offered_by_what_the_runtime_says(
    features: dict[str, object], why: str, recursive: bool
) -> None:
    found = features_in(features)
    assert why in found.why_no_user_namespaces and bool(why) == bool(found.why_no_user_namespaces)
    assert found.recursive_read_only == recursive


def test_the_keys_of_maps_are_shown_as_they_are() -> None:
    shown = document(RuntimeConfig())
    assert "enableUnprivilegedICMP" in shown and "device_ownership_from_security_context" in shown
    assert document(Handler(options={"SystemdCgroup": True}))["options"] == {"SystemdCgroup": True}
