"""The calls of the kubelet, timed at Corten and at Debian's containerd 1.6: same client, images, CNI; interleaved.

Usage: pods.py [--pods N] [--containers N]. Prints a Markdown table with the budgets of the issue beside it.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import image as images
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.wire.channel import Channel
from peers import registry, stop, unmount_below, wait_until

BIN = Path(sys.executable).parent
TMPFS = "/dev/shm"
_SERVICES = pb.DESCRIPTOR.services_by_name
METHODS = {m.name: m for name in ("RuntimeService", "ImageService") for m in _SERVICES[name].methods}
BUDGETS = {
    "pod create": "", "container create": "", "container start": "", "container start, the second of a pod": "",
    "from nothing to running": "≤ 0.8 ×",
    "container status": "≤ 2 ×", "pod status": "≤ 2 ×", "list at all containers": "≤ 2 ×", "exec sync": "",
    "pod stop": "", "pod remove": "",
}  # fmt: skip


@dataclass
class Peer:
    """One daemon with CRI, and the milliseconds of each call."""

    name: str
    folder: Path
    image: str
    pause: str
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def address(self) -> str:
        return f"{self.folder}/c.sock"

    def argv(self) -> list[str]:
        own = ["--root", f"{self.folder}/root", "--state", f"{self.folder}/state", "--address", self.address]
        return [*self._program(), *own, "-l", "error"]

    def _program(self) -> list[str]:
        (self.folder / "net.d").mkdir(parents=True)
        bridge = f"cb{os.getpid() % 10**6}{self.name[-2:]}"
        subnet = {"subnet": "10.88.0.0/16" if self.name == "corten" else "10.89.0.0/16"}
        plugin = {
            "type": "bridge", "bridge": bridge, "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[subnet]], "dataDir": f"{self.folder}/ipam"},
        }  # fmt: skip
        network = {"cniVersion": "0.4.0", "name": bridge, "plugins": [plugin]}
        (self.folder / "net.d/1.conflist").write_text(json.dumps(network))
        config = self.folder / "config.toml"
        config.write_text(
            'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n'
            f'sandbox_image = "{self.pause}"\nrestrict_oom_score_adj = true\n'
            f'[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "{self.folder}/net.d"\n'
        )
        return [str(BIN / "cortend") if self.name == "corten" else "containerd", "-c", str(config)]

    async def timed(self, what: str, call: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        reply = await call
        self.times[what].append((time.perf_counter() - began) * 1000)
        return reply


@contextmanager
def running(peer: Peer) -> Iterator[Peer]:
    peer.folder.mkdir()
    with (peer.folder / "log").open("wb") as log:
        process = subprocess.Popen(peer.argv(), stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: os.path.exists(peer.address), f"{peer.name} listens")
            yield peer
        finally:
            stop(process)
            unmount_below(peer.folder)
            bridge = json.loads((peer.folder / "net.d/1.conflist").read_text())["name"]
            subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


class Kubelet:
    """Makes pods as a kubelet does: a network of their own, a process namespace for each container."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._channel = Channel(peer.address)

    async def call(self, name: str, request: Any) -> Any:
        return await self._channel.unary(METHODS[name], request, timeout=60)

    async def close(self) -> None:
        await self._channel.close()

    async def pull(self) -> None:
        await self.call("PullImage", pb.PullImageRequest(image=pb.ImageSpec(image=self._peer.image)))

    def pod_config(self) -> pb.PodSandboxConfig:
        uid = uuid.uuid4().hex
        options = pb.NamespaceOption(pid=pb.CONTAINER)
        return pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=uid, uid=uid, namespace="bench", attempt=0),
            log_directory=str(self._peer.folder / "pods" / uid),
            linux=pb.LinuxPodSandboxConfig(security_context=pb.LinuxSandboxSecurityContext(namespace_options=options)),
        )

    async def pod(self) -> tuple[str, pb.PodSandboxConfig]:
        config = self.pod_config()
        os.makedirs(config.log_directory)
        request = pb.RunPodSandboxRequest(config=config)
        reply = await self._peer.timed("pod create", self.call("RunPodSandbox", request))
        return reply.pod_sandbox_id, config

    async def container(
        self, pod: str, pod_config: pb.PodSandboxConfig, *, start: bool = True, label: str = "container start"
    ) -> str:
        name, options = uuid.uuid4().hex, pb.NamespaceOption(pid=pb.CONTAINER)
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=self._peer.image),
            command=["sleep", "1000"], log_path=f"{name}.log",
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(namespace_options=options)
            ),
        )  # fmt: skip
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        made = await self._peer.timed("container create", self.call("CreateContainer", request))
        id = str(made.container_id)
        if start:
            starting = self.call("StartContainer", pb.StartContainerRequest(container_id=id))
            await self._peer.timed(label, starting)
        return id

    async def queries(self, pod: str, container: str) -> None:
        timed, call = self._peer.timed, self.call
        for _ in range(10):
            await timed("container status", call("ContainerStatus", pb.ContainerStatusRequest(container_id=container)))
            await timed("pod status", call("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=pod)))
        for _ in range(3):
            request = pb.ExecSyncRequest(container_id=container, cmd=["true"], timeout=20)
            await timed("exec sync", call("ExecSync", request))

    async def lists(self) -> None:
        for _ in range(20):
            await self._peer.timed("list at all containers", self.call("ListContainers", pb.ListContainersRequest()))

    async def clear(self) -> None:
        """Leave no pod behind, however it went."""
        for pod in (await self.call("ListPodSandbox", pb.ListPodSandboxRequest())).items:
            await self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod.id))
            await self.call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
        await self.close()

    async def remove(self, pod: str) -> None:
        await self._peer.timed("pod stop", self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod)))
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=pod)
        await self._peer.timed("pod remove", self.call("RemovePodSandbox", request))


async def measure(peers: list[Peer], pods: int, containers: int) -> None:
    """One pod at a time at each peer in turn, so that what else the machine does strikes both alike."""
    kubelets = [Kubelet(peer) for peer in peers]
    try:
        await _measure(peers, kubelets, pods, containers)
    finally:
        for kubelet in kubelets:
            await kubelet.clear()


async def _measure(peers: list[Peer], kubelets: list["Kubelet"], pods: int, containers: int) -> None:
    made: dict[int, list[tuple[str, pb.PodSandboxConfig]]] = {0: [], 1: []}
    for kubelet, peer in zip(kubelets, peers, strict=True):
        await kubelet.pull()
        warm = await kubelet.pod()
        await kubelet.container(*warm)
        await kubelet.remove(warm[0])
        peer.times.clear()
    for _ in range(pods):
        for index, kubelet in enumerate(kubelets):
            pod, config = await kubelet.pod()
            made[index].append((pod, config))
            container = await kubelet.container(pod, config)
            times = peers[index].times
            steps = ("pod create", "container create", "container start")
            times["from nothing to running"].append(sum(times[step][-1] for step in steps))
            await kubelet.container(pod, config, label="container start, the second of a pod")
            await kubelet.queries(pod, container)
    for index, kubelet in enumerate(kubelets):
        for number in range(max(0, containers - 2 * pods)):
            await kubelet.container(*made[index][number % pods], start=False)
        await kubelet.lists()
    for number in range(pods):
        for index, kubelet in enumerate(kubelets):
            await kubelet.remove(made[index][number][0])


def table(corten: Peer, containerd: Peer) -> str:
    lines = ["| what, median | Corten | containerd 1.6 | ratio | budget |", "|---|---|---|---|---|"]
    for what, budget in BUDGETS.items():
        own, other = statistics.median(corten.times[what]), statistics.median(containerd.times[what])
        lines.append(f"| {what} | {own:.2f} ms | {other:.2f} ms | {own / other:.2f} | {budget} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=30, help="pods with a container each")
    parser.add_argument("--containers", type=int, default=200, help="containers that there are when they are listed")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cbp-", dir=TMPFS))
    try:
        with registry(folder / "registry") as host:
            image, pause = images.push_small(folder, host), images.push_pause(folder, host)
            one, two = (Peer(name, folder / name, image, pause) for name in ("corten", "containerd"))
            with running(one), running(two):
                asyncio.run(measure([one, two], args.pods, args.containers))
            print(table(one, two))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
