"""CNI with the real plugins, on a host of the test's own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, FailedPrecondition

if sys.platform == "win32":
    pytest.skip("CNI as here is Linux's", allow_module_level=True)

from cri.cni_world import Host, World, host, until, world


@pytest.fixture
async def cni(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
def real_host(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path / "net") as made:
        yield made


# ------------------------------------------------------------------ the real plugins


def _real(cni: World, version: str = "1.0.0", *, limits: bool = False) -> None:
    """Debian's bandwidth plugin crashes at CHECK where a pod has no limits, so it is there only when asked for."""
    ranges = [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]
    ipam = {
        "type": "host-local", "dataDir": str(cni.folder / "leases"), "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }  # fmt: skip
    bridge = {"type": "bridge", "bridge": "ctnt0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    band = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    plugins = [bridge, portmap, *([band] if limits else []), {"type": "loopback"}]
    cni.configure("10.conflist", {"cniVersion": version, "name": "real", "plugins": plugins})


def _leases(cni: World) -> list[str]:
    folder = cni.folder / "leases" / "real"
    return sorted(each for each in os.listdir(folder) if each[0].isdigit() or ":" in each) if folder.exists() else []


@pytest.mark.integration
@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
async def test_real_plugins_give_a_pod_both_kinds_of_address(cni: World, real_host: Host, version: str) -> None:
    real_host.install(cni.folder / "bin")
    _real(cni, version)
    netns = real_host.add("pod")
    network = await cni.network()
    pod = cni.pod("real1", netns)
    addresses = await network.setup(pod)
    assert [address.rpartition(":")[0] or address.rpartition(".")[0] for address in addresses] == ["10.77.0", "fd77:"]
    shown = real_host.run(netns, "ip", "-o", "addr", "show", "eth0")
    assert all(f"{address}/" in shown for address in addresses)
    assert "default via 10.77.0.1 dev eth0" in real_host.run(netns, "ip", "route")
    real_host.run(netns, "busybox", "ping", "-c1", "-W5", "10.77.0.1")
    await network.check(pod)
    assert len(_leases(cni)) == 2
    await network.teardown(pod)
    await network.teardown(pod)
    assert _leases(cni) == []
    assert "eth0" not in real_host.run(netns, "ip", "-o", "link")
    assert cni.records() == []


@pytest.mark.integration
async def test_check_with_real_plugins_sees_a_missing_address(cni: World, real_host: Host) -> None:
    real_host.install(cni.folder / "bin")
    _real(cni)
    netns = real_host.add("pod")
    network = await cni.network()
    pod = cni.pod("real1", netns)
    await network.setup(pod)
    real_host.run(netns, "ip", "addr", "flush", "dev", "eth0")
    with pytest.raises(FailedPrecondition, match="network real: CNI plugin"):
        await network.check(pod)
    real_host.remove("pod")
    with pytest.raises(FailedPrecondition, match=r"network namespace .* is gone"):
        await network.check(pod)
    await network.teardown(pod)
    assert _leases(cni) == [], "addresses are given back also without the namespace"


@pytest.mark.integration
async def test_a_port_of_the_host_leads_to_the_pod(cni: World, real_host: Host) -> None:
    real_host.install(cni.folder / "bin")
    _real(cni)
    netns = real_host.add("pod")
    network = await cni.network()
    pod = cni.pod("real1", netns, port_mappings=[pb.PortMapping(host_port=18080, container_port=80)])
    await network.setup(pod)
    code = (
        "import socket; s = socket.create_server(('', 80)); print(flush=True); c, _ = s.accept(); c.sendall(b'hello')"
    )
    server = real_host.start(netns, sys.executable, "-c", code)
    try:
        await until(lambda: ":80 " in real_host.run(netns, "ss", "-ltn"), "the server in the pod listens")
        fetch = "import socket; print(socket.create_connection(('10.77.0.1', 18080), 10).recv(10))"
        assert "hello" in await asyncio.to_thread(real_host.run, real_host.netns, sys.executable, "-c", fetch)
    finally:
        server.kill()
        server.wait()
    assert "18080" in real_host.run(real_host.netns, "iptables-save")
    await network.teardown(pod)
    assert "18080" not in real_host.run(real_host.netns, "iptables-save")


@pytest.mark.integration
async def test_bandwidth_is_limited_by_the_plugin(cni: World, real_host: Host) -> None:
    real_host.install(cni.folder / "bin")
    _real(cni, limits=True)
    netns = real_host.add("pod")
    network = await cni.network()
    limits = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "20M"}
    await network.setup(cni.pod("real1", netns, annotations=limits))
    shown = real_host.run(real_host.netns, "tc", "qdisc")
    assert "rate 10Mbit" in shown
    assert "rate 20Mbit" in shown
    await network.teardown(cni.pod("real1", netns))
    assert "tbf" not in real_host.run(real_host.netns, "tc", "qdisc")


@pytest.mark.integration
async def test_no_address_leaks_when_the_chain_fails_at_its_end(cni: World, real_host: Host) -> None:
    real_host.install(cni.folder / "bin")
    _real(cni, limits=True)
    cni.fake("bandwidth")
    cni.does("bandwidth", "ADD", "exit 1")
    network = await cni.network()
    netns = real_host.add("pod")
    for attempt in range(3):
        with pytest.raises(CortenError, match='plugin type="bandwidth" failed'):
            await network.setup(cni.pod(f"real{attempt}", netns))
    assert _leases(cni) == []
    assert cni.records() == []
