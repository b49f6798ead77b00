"""Mounts through a real daemon: the service, root file systems of tasks on devices, leases and the collector."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import images
import pytest
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.leases.v1 import leases_pb2
from corten.api.services.mounts.v1 import mounts_pb2 as pb
from corten.api.services.tasks.v1 import tasks_pb2
from corten.api.types import mount_pb2
from corten.errors import CortenError, NotFound, Unimplemented
from corten.linux import loop
from corten.oci import spec
from corten.oci.options import SpecOptions
from corten.wire.channel import Channel
from daemon import Daemon, mounts_and_processes, remove_cgroups, running_daemon
from google.protobuf.message import Message
from peers import wait_until

pytestmark = pytest.mark.integration
NS = "mounted"


class Client:
    """Calls by the names of their methods."""

    def __init__(self, channel: Channel, lease: str = "") -> None:
        self._channel = channel
        self._headers: Mapping[str, str] = {
            "containerd-namespace": NS,
            **({"containerd-lease": lease} if lease else {}),
        }

    async def __call__(self, module: Any, service: str, method: str, request: Message) -> Any:
        descriptor = module.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        return await self._channel.unary(descriptor, request, metadata=self._headers)

    async def list(self) -> list[str]:
        method = pb.DESCRIPTOR.services_by_name["Mounts"].methods_by_name["List"]
        stream = self._channel.server_stream(method, pb.ListRequest(), metadata=self._headers)
        return [each.info.name async for each in stream]


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    if shutil.which("mkfs.ext4") is None or not os.access(loop.CONTROL, os.W_OK):
        pytest.skip("mkfs.ext4 or loop devices are missing")
    with running_daemon() as made:
        yield made
        wait_until(lambda: not devices_of(made.folder), "the kernel has freed the loop devices")
        made.stop()
        wait_until(lambda: not mounts_and_processes(made.folder), "nothing is left of the daemon")
    remove_cgroups(NS)


def devices_of(folder: Path) -> list[str]:
    files = [loop.backing_file(path.name) for path in Path("/sys/block").glob("loop*")]
    return [file for file in files if str(folder) in file]


def image(folder: Path) -> Path:
    """An ext4 file system with a busybox in it, in a file."""
    tree, path = folder / "tree", folder / "disk.img"
    for name in ("bin", "proc", "dev", "sys", "run"):
        (tree / name).mkdir(parents=True)
    shutil.copy(images.BUSYBOX, tree / "bin/busybox")
    with path.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True)
    return path


def chain(path: Path) -> list[mount_pb2.Mount]:
    return [
        mount_pb2.Mount(type="loop", source=str(path)),
        mount_pb2.Mount(type="format/ext4", source="{{ mount 0 }}"),
    ]


async def test_the_service(daemon: Daemon) -> None:
    path = image(daemon.folder)
    async with Channel(daemon.address) as channel:
        client = Client(channel, "mine")  # without a lease the next collection would take them away
        await client(leases_pb2, "Leases", "Create", leases_pb2.CreateRequest(id="mine"))
        bound = mount_pb2.Mount(type="bind", source="/tmp")
        with pytest.raises(Unimplemented):
            await client(pb, "Mounts", "Activate", pb.ActivateRequest(name="a", mounts=[bound]))
        request = pb.ActivateRequest(name="a", mounts=[*chain(path), bound], labels={"k": "v"})
        made = (await client(pb, "Mounts", "Activate", request)).info
        assert [each.mount.type for each in made.active] == ["loop"] and made.active[0].mounted_at.seconds > 0
        assert [each.type for each in made.system] == ["ext4", "bind"]
        assert made.system[0].source == made.active[0].mount_point
        assert await client.list() == ["a"]
        daemon.restart()
        assert (await client(pb, "Mounts", "Info", pb.InfoRequest(name="a"))).info == made
        made.labels["k"] = "w"
        updated = await client(pb, "Mounts", "Update", pb.UpdateRequest(info=made))
        assert updated.info.labels == {"k": "w"}
        await client(pb, "Mounts", "Deactivate", pb.DeactivateRequest(name="a"))
        with pytest.raises(NotFound):
            await client(pb, "Mounts", "Info", pb.InfoRequest(name="a"))


async def task(client: Client, path: Path, id: str, *args: str, program: str = "/bin/busybox") -> None:
    """A container without a snapshot whose client sends a chain as its root file system."""
    options = SpecOptions(args=(program, *args), cgroups_path=f"/{NS}/{id}", default_devices=True)
    container = containers_pb2.Container(id=id, runtime={"name": "io.containerd.runc.v2"})
    container.spec.type_url, container.spec.value = spec.SPEC_TYPE, json.dumps(spec.build(NS, id, options)).encode()
    await client(containers_pb2, "Containers", "Create", containers_pb2.CreateContainerRequest(container=container))
    rootfs = [*chain(path), mount_pb2.Mount(type="format/bind", source="{{ mount 1 }}", options=["rbind"])]
    await client(tasks_pb2, "Tasks", "Create", tasks_pb2.CreateTaskRequest(container_id=id, rootfs=rootfs))


async def test_a_task_runs_on_a_device_and_gives_it_back(daemon: Daemon) -> None:
    path = image(daemon.folder)
    async with Channel(daemon.address) as channel:
        client = Client(channel)
        await task(client, path, "c", "sleep", "1000")
        await client(tasks_pb2, "Tasks", "Start", tasks_pb2.StartRequest(container_id="c"))
        assert await client.list() == ["c"]
        daemon.kill()
        daemon.start()
        assert await client.list() == ["c"]
        await client(tasks_pb2, "Tasks", "Kill", tasks_pb2.KillRequest(container_id="c", signal=9))
        ended = await client(tasks_pb2, "Tasks", "Wait", tasks_pb2.WaitRequest(container_id="c"))
        assert ended.exit_status == 137
        await client(tasks_pb2, "Tasks", "Delete", tasks_pb2.DeleteTaskRequest(container_id="c"))
        assert await client.list() == []


async def test_a_task_that_cannot_be_made_leaves_no_mount(daemon: Daemon) -> None:
    path = image(daemon.folder)
    async with Channel(daemon.address) as channel:
        client = Client(channel)
        with pytest.raises(CortenError, match="no-such-program"):
            await task(client, path, "bad", program="/no-such-program")
        assert await client.list() == []


async def test_leases_and_containers_keep_activations(daemon: Daemon) -> None:
    path = image(daemon.folder)
    async with Channel(daemon.address) as channel:
        client, leased = Client(channel), Client(channel, "mine")
        await client(leases_pb2, "Leases", "Create", leases_pb2.CreateRequest(id="mine"))
        keeper = {"containerd.io/gc.bref.container": "keeper"}
        container = containers_pb2.Container(id="keeper", runtime={"name": "x"}, spec={"type_url": "x"})
        await client(containers_pb2, "Containers", "Create", containers_pb2.CreateContainerRequest(container=container))
        for by, name, labels in ((leased, "leased", {}), (client, "kept", keeper), (client, "loose", {})):
            await by(pb, "Mounts", "Activate", pb.ActivateRequest(name=name, mounts=chain(path), labels=labels))
        await collected(client)
        assert await client.list() == ["kept", "leased"]
        await client(leases_pb2, "Leases", "Delete", leases_pb2.DeleteRequest(id="mine", sync=True))
        assert await client.list() == ["kept"]
        await client(containers_pb2, "Containers", "Delete", containers_pb2.DeleteContainerRequest(id="keeper"))
        await collected(client)
        assert await client.list() == []


async def collected(client: Client) -> None:
    """A lease that is deleted in step with a collection."""
    await client(leases_pb2, "Leases", "Create", leases_pb2.CreateRequest(id="once"))
    await client(leases_pb2, "Leases", "Delete", leases_pb2.DeleteRequest(id="once", sync=True))
