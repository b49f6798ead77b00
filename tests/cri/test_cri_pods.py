"""Pods: their life, what belongs to them, what they share, and what is left when making one fails."""

import asyncio
import json
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from cri.cri_world import Cri, CriNode, run, until
from peers import Ctr

pytestmark = pytest.mark.integration


async def test_a_pod_is_run_stopped_and_removed_and_each_may_be_repeated(cri: Cri) -> None:
    pod = await cri.run_pod()
    assert [(each.id, each.state) for each in await cri.pods(id=pod)] == [(pod, pb.SANDBOX_READY)]
    container = await cri.started(pod, "sleep", "1000")
    for _ in range(2):
        await cri.stop_pod(pod)
        assert (await cri.pod_status(pod)).state == pb.SANDBOX_NOTREADY
        assert (await cri.status(container)).state == pb.CONTAINER_EXITED
    for _ in range(2):
        await cri.remove_pod(pod)
    assert await cri.pods(id=pod) == []
    with pytest.raises(NotFound):
        await cri.pod_status(pod)
    with pytest.raises(NotFound):
        await cri.status(container)


async def test_pods_are_found_by_beginning_of_id_state_and_labels(cri: Cri) -> None:
    blue = await cri.run_pod(cri.pod_config(labels={"colour": "blue", "size": "1"}))
    red = await cri.run_pod(cri.pod_config(labels={"colour": "red"}))
    await cri.stop_pod(red)

    async def ids(**filter: object) -> set[str]:
        return {each.id for each in await cri.pods(**filter)}

    assert await ids() == {blue, red}
    assert await ids(id=blue[:12]) == {blue}
    assert await ids(state=pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)) == {red}
    assert await ids(label_selector={"colour": "blue", "size": "1"}) == {blue}
    assert await ids(label_selector={"colour": "blue", "size": "2"}) == set()
    pages = [page async for page in cri.stream("StreamPodSandboxes", pb.StreamPodSandboxesRequest())]
    assert {each.id for page in pages for each in page.pod_sandboxes} == {blue, red}
    assert (await cri.pod_status(blue[:12])).labels == {"colour": "blue", "size": "1"}


async def test_a_pod_has_a_name_resolvers_and_memory_of_its_own(cri: Cri) -> None:
    dns = pb.DNSConfig(servers=["10.10.10.10"], searches=["a.example", "b.example"], options=["ndots:8"])
    pod = await cri.run_pod(cri.networked(hostname="own-name", dns_config=dns))
    options = pb.NamespaceOption(pid=pb.CONTAINER)
    linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
    one = await cri.started(pod, "sleep", "1000", linux=linux)
    two = await cri.started(pod, "sleep", "1000", linux=linux)
    assert await cri.output(one, "hostname") == "own-name"
    assert await cri.output(one, "cat", "/etc/hostname") == "own-name"
    assert await cri.output(one, "sh", "-c", "echo $HOSTNAME") == "own-name"
    assert (await cri.output(one, "cat", "/etc/resolv.conf")).splitlines() == [
        "search a.example b.example", "nameserver 10.10.10.10", "options ndots:8",
    ]  # fmt: skip
    await cri.output(one, "sh", "-c", "echo shared > /dev/shm/note")
    assert await cri.output(two, "cat", "/dev/shm/note") == "shared"
    assert await cri.output(one, "readlink", "/proc/self/ns/ipc") == await cri.output(
        two, "readlink", "/proc/self/ns/ipc"
    )
    assert await cri.output(one, "readlink", "/proc/self/ns/net") != str(Path("/proc/self/ns/net").readlink())


async def test_addresses_are_given_and_given_back(cri: Cri, node: CriNode) -> None:
    pod = await cri.run_pod(cri.networked())
    address = (await cri.pod_status(pod)).network.ip
    assert address.startswith("10.")
    await cri.stop_pod(pod)
    assert (await cri.pod_status(pod)).network.ip == ""
    await cri.remove_pod(pod)
    assert not list((node.daemon.state / "io.containerd.grpc.v1.cri" / "netns").iterdir())


async def test_sysctls_are_set_in_the_pod_and_those_of_the_host_are_refused(cri: Cri) -> None:
    config = cri.networked()
    config.linux.sysctls["net.ipv4.ip_default_ttl"] = "77"
    config.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    pod = await cri.run_pod(config)
    container = await cri.started(pod, "sleep", "1000")
    assert await cri.output(container, "cat", "/proc/sys/net/ipv4/ip_default_ttl") == "77"
    assert await cri.output(container, "cat", "/proc/sys/kernel/shm_rmid_forced") == "1"
    assert await cri.output(container, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip() != "77"
    for name, value in (("kernel.core_pattern", "|/bin/x"), ("vm.swappiness", "1"), ("net.ipv4.ip_forward+x", "1")):
        bad = cri.networked()
        bad.linux.sysctls[name] = value
        with pytest.raises(InvalidArgument, match=name.partition("+")[0]):
            await cri.run_pod(bad)
    assert len(await cri.pods()) == 1


async def test_a_pod_on_the_host_s_network_cannot_change_it(cri: Cri) -> None:
    config = cri.pod_config()
    config.linux.sysctls["net.ipv4.ip_default_ttl"] = "77"
    with pytest.raises(InvalidArgument, match="the host's net namespace"):
        await cri.run_pod(config)


async def test_the_verbose_status_of_a_new_pod_tells_a_process_in_it(cri: Cri) -> None:
    """Which the pod gets a moment after it is ready: whoever asks before acts on the pid as well."""
    info = await cri.pod_info(await cri.run_pod(cri.networked()))
    namespace = Path(info["sandboxMetadata"]["Metadata"]["NetNSPath"])
    assert Path(f"/proc/{info['pid']}/ns/net").stat().st_ino == namespace.stat().st_ino
    assert info["processStatus"] == "running"


async def test_a_pod_has_its_statistics_of_the_network_from_a_process_of_its_own(cri: Cri, node: CriNode) -> None:
    """As cAdvisor asks: the container of the pod's id is labelled as sandbox, and its task has a pid in the network."""
    ctr, pod = Ctr(node.daemon.address, "k8s.io"), await cri.run_pod(cri.networked())

    async def paused() -> bool:
        return f"{pod} " in await asyncio.to_thread(ctr, "tasks", "ls")

    await until(paused, "the pod has a pause process")
    pid = (await cri.pod_info(pod))["pid"]
    assert "eth0" in Path(f"/proc/{pid}/net/dev").read_text()
    assert pod in Path(f"/proc/{pid}/cgroup").read_text()
    [task] = [line.split() for line in ctr("tasks", "ls").splitlines() if pod in line]
    assert task[1:] == [str(pid), "RUNNING"]
    shown = json.loads(ctr("containers", "info", pod))
    assert shown["Labels"]["io.cri-containerd.kind"] == "sandbox" and "pause" in shown["Image"]
    await cri.stop_pod(pod)
    assert not Path(f"/proc/{pid}").exists()


async def test_a_shared_process_namespace_is_that_of_the_pause_process(cri: Cri) -> None:
    shared_config = cri.pod_config()
    shared_config.linux.security_context.namespace_options.pid = pb.POD
    shared = await cri.run_pod(shared_config)
    options = pb.NamespaceOption(network=pb.NODE, pid=pb.POD)
    linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
    one = await cri.started(shared, "sleep", "1001", linux=linux)
    two = await cri.started(shared, "sleep", "1002", linux=linux)
    pause = (await cri.pod_info(shared))["pid"]
    assert pause > 0
    assert Path(f"/proc/{pause}/cmdline").read_bytes() == b"/pause\0"
    seen = await cri.output(one, "ps")
    assert "sleep 1001" in seen and "sleep 1002" in seen and "1 root" in seen.replace("  ", " ").replace("  ", " ")
    assert await cri.output(two, "cat", "/proc/1/cmdline") == "/pause\0"
    await cri.stop_pod(shared)
    assert not Path(f"/proc/{pause}").exists()


async def test_orphans_in_a_shared_process_namespace_are_reaped(cri: Cri) -> None:
    config = cri.pod_config()
    config.linux.security_context.namespace_options.pid = pb.POD
    pod = await cri.run_pod(config)
    options = pb.NamespaceOption(network=pb.NODE, pid=pb.POD)
    linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
    container = await cri.started(pod, "sleep", "1000", linux=linux)
    await cri.output(container, "sh", "-c", "(sh -c 'sleep 0.1 & sleep 0' &) ; sleep 0.5")
    pause = (await cri.pod_info(pod))["pid"]

    async def reaped() -> bool:
        return not _zombies_of(pause)

    await until(reaped, "orphans are reaped")


def _zombies_of(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]]


async def test_the_same_request_twice_at_a_time_is_one_pod_and_later_the_name_is_taken(cri: Cri) -> None:
    config = cri.pod_config()
    first, second = await asyncio.gather(cri.run_pod(config), cri.run_pod(config))
    assert first == second
    with pytest.raises(AlreadyExists, match=f"taken by {first}"):
        await cri.run_pod(config)
    assert len(await cri.pods()) == 1
    other = cri.pod_config()
    other.metadata.CopyFrom(config.metadata)
    other.labels["another"] = "request"
    with pytest.raises(AlreadyExists, match=f"taken by {first}"):
        await cri.run_pod(other)
    await cri.started(first, "sleep", "1000")
    with pytest.raises(AlreadyExists):
        await cri.run_pod(config)


async def test_a_pod_whose_client_gave_up_is_replaced_by_the_next_request(cri: Cri) -> None:
    config = cri.networked()
    with pytest.raises(CortenError):
        await cri.call("RunPodSandbox", pb.RunPodSandboxRequest(config=config), timeout=0.01)
    config.hostname = "changed"
    pod = await cri.run_pod(config)
    assert [each.id for each in await cri.pods()] == [pod]


async def test_what_cannot_be_made_leaves_nothing_and_frees_the_name(cri: Cri, node: CriNode) -> None:
    config = cri.networked()
    good = config.linux.sysctls
    good["net.ipv4.no_such_thing"] = "1"
    with pytest.raises(CortenError, match="no_such_thing"):
        await cri.run_pod(config)
    assert await cri.pods() == []
    folder = node.daemon.state / "io.containerd.grpc.v1.cri"
    assert not list((folder / "sandboxes").iterdir())
    assert not list((folder / "netns").iterdir())
    del good["net.ipv4.no_such_thing"]
    assert await cri.run_pod(config)


async def test_a_pod_whose_namespaces_are_gone_is_not_ready(cri: Cri) -> None:
    pod = await cri.run_pod(cri.networked())
    path = (await cri.pod_info(pod))["sandboxMetadata"]["Metadata"]["NetNSPath"]
    run("umount", path)
    assert (await cri.pod_status(pod)).state == pb.SANDBOX_NOTREADY
    assert [each.state for each in await cri.pods(id=pod)] == [pb.SANDBOX_NOTREADY]
    with pytest.raises(FailedPrecondition, match="not ready"):
        await cri.create(pod, cri.config("true"))
    await cri.remove_pod(pod)


async def test_an_unknown_handler_is_named_with_those_that_there_are(cri: Cri) -> None:
    with pytest.raises(InvalidArgument, match=r'"kata".*there are: runc'):
        await cri.run_pod(handler="kata")


async def test_requests_that_would_write_into_the_pod_s_files_are_refused(cri: Cri) -> None:
    bad = [
        cri.pod_config(hostname="a\n10.0.0.1 evil"),
        cri.pod_config(dns_config=pb.DNSConfig(servers=["1.1.1.1\nnameserver 6.6.6.6"])),
        cri.pod_config(dns_config=pb.DNSConfig(searches=["a\nnameserver 6.6.6.6"])),
    ]
    for config in bad:
        with pytest.raises(InvalidArgument):
            await cri.run_pod(config)


async def test_user_namespaces_follow_the_features_of_the_runtime(cri: Cri) -> None:
    mapping = [pb.IDMapping(container_id=0, host_id=200000, length=65536)]
    config = cri.networked()
    config.linux.security_context.namespace_options.userns_options.CopyFrom(
        pb.UserNamespace(mode=pb.POD, uids=mapping, gids=mapping)
    )
    if '"idmap"' in run("runc", "features"):
        pod = await cri.run_pod(config)
        assert (await cri.pod_status(pod)).state == pb.SANDBOX_READY
    else:
        with pytest.raises(FailedPrecondition, match=r"runtime 1.* has no idmapped mounts"):
            await cri.run_pod(config)
    config.linux.security_context.namespace_options.userns_options.ClearField("gids")
    with pytest.raises(InvalidArgument, match="needs a mapping"):
        await cri.run_pod(config)


async def test_resources_of_a_pod_are_kept(cri: Cri) -> None:
    pod = await cri.run_pod()
    request = pb.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=pod, resources=pb.LinuxContainerResources(cpu_shares=512, memory_limit_in_bytes=1 << 28)
    )
    await cri.call("UpdatePodSandboxResources", request)
    assert (await cri.pod_info(pod))["resources"]["linux"] == {"cpu_shares": 512, "memory_limit_in_bytes": 1 << 28}


async def test_a_host_name_for_a_pod_on_the_hosts_network_is_refused(cri: Cri) -> None:
    with pytest.raises(InvalidArgument, match="host's network"):
        await cri.run_pod(cri.pod_config(hostname="another"))


async def test_the_verbose_document_has_the_record_and_the_updated_limits_as_containerd_has_them(cri: Cri) -> None:
    pod = await cri.run_pod(cri.networked())
    overhead, limits = pb.LinuxContainerResources(cpu_shares=10), pb.LinuxContainerResources(cpu_shares=20)
    request = pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, overhead=overhead, resources=limits)
    await cri.call("UpdatePodSandboxResources", request)
    info = await cri.pod_info(pod)
    record = info["sandboxMetadata"]
    assert record["Version"] == "v1" and record["Metadata"]["ID"] == pod
    assert record["Metadata"]["IP"] == (await cri.pod_status(pod)).network.ip
    assert info["overhead"]["linux"]["cpu_shares"] == 10 and info["resources"]["linux"]["cpu_shares"] == 20


async def test_the_verbose_status_tells_where_a_pod_is_found_on_the_host(cri: Cri) -> None:
    config = cri.networked(hostname="named")
    config.linux.cgroup_parent = "/corten-test-pods"
    pod = await cri.run_pod(config)
    info = await cri.pod_info(pod)
    spec = info["runtimeSpec"]
    assert spec["hostname"] == "named" and spec["linux"]["cgroupsPath"] == f"/corten-test-pods/{pod}"
    assert spec["annotations"]["io.kubernetes.cri.sandbox-name"] == config.metadata.name
    (netns,) = (each["path"] for each in spec["linux"]["namespaces"] if each["type"] == "network")
    assert info["cniResult"]["Interfaces"]["lo"]["Sandbox"] == netns
    assert info["sandboxMetadata"]["Metadata"]["CNIResult"] == info["cniResult"]
