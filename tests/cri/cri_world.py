"""A node for tests of CRI: cortend with real runc, real CNI plugins on a bridge of its own, a real registry, a client.

async with node.client() as cri:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "100")
    assert (await cri.exec(container, "id", "-u")).stdout == b"0\\n"
"""

import asyncio
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import images
import peers
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.wire.channel import Channel
from daemon import Daemon, running_daemon

_SERVICES = pb.DESCRIPTOR.services_by_name
METHODS = {method.name: method for name in ("RuntimeService", "ImageService") for method in _SERVICES[name].methods}
TIMEOUT = 60.0
"""Seconds in which a call must be answered."""
WAIT = 20.0
"""Seconds in which something must have come about."""


@dataclass(frozen=True)
class CriNode:
    """The daemon, and where its images come from."""

    daemon: Daemon
    registry: str
    bridge: str
    conf: Path
    """The folder of the network's configuration."""

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Cri"]:
        """A client that removes all pods at the end."""
        cri = Cri(self)
        try:
            yield cri
        finally:
            await cri.reconnect()
            await cri.clear()
            await cri.close()

    def image(self, name: str = "busy") -> str:
        return f"{self.registry}/test/{name}:latest"

    @property
    def cdi(self) -> Path:
        """Where descriptions of CDI devices lie."""
        folder = self.conf.parent / "cdi"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def logs(self) -> Path:
        """Where pods log."""
        return self.daemon.folder / "pods"


class Cri:
    """Calls by their names, and short ways to what tests need most."""

    def __init__(self, node: CriNode) -> None:
        self._channel = Channel(node.daemon.address)
        self.node = node

    async def reconnect(self) -> None:
        """A new connection: an old one waits a while before it looks for a daemon that was started anew."""
        await self.close()
        self._channel = Channel(self.node.daemon.address)

    async def close(self) -> None:
        await self._channel.close()

    async def restart(self, stop: Callable[[], None]) -> None:
        """Stop the daemon in some way, and start it."""
        await asyncio.to_thread(stop)
        await asyncio.to_thread(self.node.daemon.start)
        await self.reconnect()

    async def call(self, name: str, request: Any, timeout: float = TIMEOUT) -> Any:
        """Raises the errors of `corten.errors`."""
        return await self._channel.unary(METHODS[name], request, timeout=timeout)

    def stream(self, name: str, request: Any) -> AsyncIterator[Any]:
        return self._channel.server_stream(METHODS[name], request)

    async def pull(self, name: str = "busy") -> str:
        """Have an image; returns its id."""
        image = pb.ImageSpec(image=self.node.image(name))
        reply = await self.call("PullImage", pb.PullImageRequest(image=image))
        return str(reply.image_ref)

    async def run_pod(self, config: pb.PodSandboxConfig | None = None, handler: str = "") -> str:
        request = pb.RunPodSandboxRequest(config=config or self.pod_config(), runtime_handler=handler)
        return str((await self.call("RunPodSandbox", request)).pod_sandbox_id)

    def pod_config(self, **changes: Any) -> pb.PodSandboxConfig:
        """A new pod on the host's network, each container with processes of its own; `changes` are fields."""
        uid = uuid.uuid4().hex[:12]
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=f"pod-{uid}", uid=uid, namespace="tests", attempt=1),
            log_directory=str(self.node.logs / uid),
            linux=pb.LinuxPodSandboxConfig(
                security_context=pb.LinuxSandboxSecurityContext(
                    namespace_options=pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
                )
            ),
        )
        config.MergeFrom(pb.PodSandboxConfig(**changes))
        return config

    def networked(self, **changes: Any) -> pb.PodSandboxConfig:
        """The same with a network of its own."""
        config = self.pod_config(**changes)
        config.linux.security_context.namespace_options.network = pb.POD
        return config

    def config(self, *command: str, image: str = "busy", **changes: Any) -> pb.ContainerConfig:
        """A container that runs a command; `changes` are fields."""
        name = f"ctr-{uuid.uuid4().hex[:12]}"
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name, attempt=1),
            image=pb.ImageSpec(image=self.node.image(image)),
            command=command,
            log_path=f"{name}/0.log",
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    namespace_options=pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
                )
            ),
        )
        linux = changes.pop("linux", None)
        config.MergeFrom(pb.ContainerConfig(**changes))
        if linux is not None:  # whole: 0 is a mode of a namespace
            config.linux.CopyFrom(linux)
        return config

    async def create(self, pod: str, config: pb.ContainerConfig, pod_config: pb.PodSandboxConfig | None = None) -> str:
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config)
        if pod_config is not None:
            request.sandbox_config.CopyFrom(pod_config)
        return str((await self.call("CreateContainer", request)).container_id)

    async def start(self, container: str) -> None:
        await self.call("StartContainer", pb.StartContainerRequest(container_id=container))

    async def started(self, pod: str, *command: str, **changes: Any) -> str:
        """A container that was created and started."""
        container = await self.create(pod, self.config(*command, **changes))
        await self.start(container)
        return container

    async def printed(self, pod: str, *command: str, **changes: Any) -> str:
        """What a container prints, run to its end."""
        container = await self.started(pod, *command, **changes)
        await self.ended(container)
        return await self.log(container)

    async def stop(self, container: str, timeout: int = 0) -> None:
        await self.call("StopContainer", pb.StopContainerRequest(container_id=container, timeout=timeout))

    async def remove(self, container: str) -> None:
        await self.call("RemoveContainer", pb.RemoveContainerRequest(container_id=container))

    async def stop_pod(self, pod: str) -> None:
        await self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod))

    async def remove_pod(self, pod: str) -> None:
        await self.call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod))

    async def status(self, container: str) -> Any:
        reply = await self.call("ContainerStatus", pb.ContainerStatusRequest(container_id=container))
        return reply.status

    async def info(self, container: str) -> dict[str, Any]:
        """The verbose document of a container."""
        request = pb.ContainerStatusRequest(container_id=container, verbose=True)
        found: dict[str, Any] = json.loads((await self.call("ContainerStatus", request)).info["info"])
        return found

    async def pod_status(self, pod: str) -> Any:
        reply = await self.call("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=pod))
        return reply.status

    async def pod_info(self, pod: str) -> dict[str, Any]:
        """The verbose document of a pod."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True)
        found: dict[str, Any] = json.loads((await self.call("PodSandboxStatus", request)).info["info"])
        return found

    async def exec(self, container: str, *command: str, timeout: int = 20) -> Any:
        request = pb.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        return await self.call("ExecSync", request)

    async def output(self, container: str, *command: str) -> str:
        """What a command in a container prints; it must succeed."""
        reply = await self.exec(container, *command)
        assert reply.exit_code == 0, (reply.exit_code, reply.stdout, reply.stderr)
        return str(reply.stdout.decode().strip())

    async def ended(self, container: str) -> Any:
        """The status of a container once it has ended."""
        return await self.in_state(container, pb.CONTAINER_EXITED)

    async def in_state(self, container: str, state: int) -> Any:
        async def reached() -> bool:
            return bool((await self.status(container)).state == state)

        await until(reached, f"container {container} is {pb.ContainerState.Name(state)}")
        return await self.status(container)

    async def log(self, container: str) -> str:
        """What the container printed, without times and tags."""
        path = Path((await self.status(container)).log_path)
        return "\n".join(line.split(" ", 3)[3] for line in path.read_text().splitlines())

    async def pods(self, **filter: Any) -> list[Any]:
        request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(**filter))
        return list((await self.call("ListPodSandbox", request)).items)

    async def containers(self, **filter: Any) -> list[Any]:
        request = pb.ListContainersRequest(filter=pb.ContainerFilter(**filter))
        return list((await self.call("ListContainers", request)).containers)

    async def clear(self) -> None:
        """Remove every pod, and with it its containers."""
        for pod in await self.pods():
            await self.remove_pod(pod.id)


async def until(condition: Callable[[], Awaitable[object]], what: str, timeout: float = WAIT) -> None:
    """Ask again and again until it is true; a test that waits in vain says for what."""
    end = asyncio.get_running_loop().time() + timeout
    for _ in iter(int, 1):
        if await condition():
            return
        assert asyncio.get_running_loop().time() < end, f"waited {timeout} s in vain: {what}"
        await asyncio.sleep(0.02)


def run(*command: str) -> str:
    """Run a program of the host; what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def context(**fields: Any) -> pb.LinuxContainerConfig:
    """A container's Linux part with fields of the security context set."""
    options = fields.pop("namespace_options", pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER))
    return pb.LinuxContainerConfig(
        security_context=pb.LinuxContainerSecurityContext(namespace_options=options, **fields)
    )


def privileged_pod(cri: Cri) -> pb.PodSandboxConfig:
    """A pod whose containers may be privileged."""
    config = cri.pod_config()
    config.linux.security_context.privileged = True
    return config


@contextmanager
def cri_node(
    folder: Path, extra: str = "", bin_dirs: str = "/usr/lib/cni", env: Mapping[str, str] | None = None
) -> Iterator[CriNode]:
    """A daemon with images in a registry; gone with all it made at the end. `extra`: more of the runtime's settings."""
    bridge, conf = f"crt{os.getpid() % 10**8:x}{os.urandom(2).hex()}"[:15], folder / "net.d"
    conf.mkdir(parents=True)
    (conf / "10-test.conflist").write_text(network(bridge, folder / "ipam"))
    with peers.registry(folder / "registry") as host:
        push_all(folder, host)
        try:
            with running_daemon(config=settings(conf, extra.replace("REGISTRY", host), bin_dirs), env=env) as daemon:
                yield CriNode(daemon, host, bridge, conf)
        finally:
            subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


def network(bridge: str, ipam: Path) -> str:
    """A bridge with addresses from a range of this test's own."""
    range_ = {"subnet": f"10.{200 + os.getpid() % 50}.{os.urandom(1)[0]}.0/24"}
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "ipam": {"type": "host-local", "ranges": [[range_]], "dataDir": str(ipam)},
    }
    return json.dumps({"cniVersion": "1.0.0", "name": bridge, "plugins": [plugin]})


def settings(conf: Path, extra: str, bin_dirs: str) -> str:
    own = f"socket_path: {conf}/nri.sock, plugin_path: {conf}/nri, plugin_config_path: {conf}/nri.d"
    nri = f"  io.containerd.nri.v1.nri: {{{own}}}"
    return f"""
plugins:
  io.containerd.cri.v1.runtime:
    cni: {{bin_dirs: [{bin_dirs}], conf_dir: {conf}}}
    netns_mounts_under_state_dir: true
    cdi_spec_dirs: [{conf.parent}/cdi]
{extra}
{"" if "nri.v1.nri" in extra else nri}
"""


def push_all(folder: Path, host: str) -> None:
    """The images of these tests."""
    for name, (fills, config) in IMAGES.items():
        layout = images.write_layout(folder / f"layout-{name}", fills, config=config)
        images.push(layout, f"{host}/test/{name}:latest")


def extra_files(tar: tarfile.TarFile) -> None:
    """Users, groups and a folder for volumes."""
    passwd = ["root:x:0:0:root:/root:/bin/sh", "user:x:1000:1000:user:/home:/bin/sh", "evil:x:0:0::/:/bin/sh"]
    images.file(tar, "etc/passwd", "".join(f"{line}\n" for line in passwd).encode())
    group = ["root:x:0:", "user:x:1000:", "image:x:50000:user"]
    images.file(tar, "etc/group", "".join(f"{line}\n" for line in group).encode())
    images.directory(tar, "data/deep", 0o750, uid=1000, gid=1000)
    images.file(tar, "data/kept", b"from the image\n", 0o640, uid=1000)
    images.link(tar, "data/out", "/etc")


EVIL_USERS = ("2147483648:1000", "4294967296", "1000:4294967296", "99999999999999999999")
"""As an image may name them: numbers that wrap to root, or are names of accounts of root's."""


def evil_names(tar: tarfile.TarFile) -> None:
    """Accounts of root's whose names are numbers."""
    names = sorted({word for user in EVIL_USERS for word in user.split(":")})
    images.file(tar, "etc/passwd", "".join(f"{name}:x:0:0::/:/bin/sh\n" for name in names).encode())


def huge_accounts(tar: tarfile.TarFile) -> None:
    """A passwd file that would fill memory."""
    images.file(tar, "etc/passwd", b"user:x:1000:1000:::\n" + b"\n" * (64 << 20))


def device_accounts(tar: tarfile.TarFile) -> None:
    """A passwd file that never ends."""
    tar.addfile(images.entry("etc/passwd", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=5))


IMAGES: Mapping[str, tuple[Sequence[images.Fill], dict[str, Any]]] = {
    "busy": ((images.base_layer,), {"Cmd": ["sleep", "1000"]}),
    "users": ((images.base_layer, extra_files), {"User": "user", "Cmd": ["id"]}),
    "volumes": ((images.base_layer, extra_files), {"Volumes": {"/data": {}, "/fresh": {}}, "StopSignal": "SIGUSR1"}),
    "escape": ((images.base_layer, extra_files), {"Volumes": {"/../../../../etc": {}, "data/out/../../root": {}}}),
}

IMAGES = {
    **IMAGES,
    "labels": (
        (images.base_layer,),
        {"Labels": {"containerd.io/restart.loguri": "binary:///bin/sh?-c=touch+/tmp/owned", "kept": "yes"}},
    ),
    "directory": ((images.base_layer,), {"WorkingDir": "/proc/self/fd/8/../../.."}),
    **{f"user-{number}": ((images.base_layer, evil_names), {"User": user}) for number, user in enumerate(EVIL_USERS)},
    "accounts": ((images.base_layer, huge_accounts), {"User": "user"}),
    "device": ((images.base_layer, device_accounts), {"User": "user"}),
}

if sys.platform == "win32":
    raise ImportError("CRI is for Linux here")
