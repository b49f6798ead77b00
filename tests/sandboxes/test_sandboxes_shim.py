"""The shim controller against a shim that is a program of its own: lives, failures, restarts of the daemon."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from corten.api.events import sandbox_pb2 as events
from corten.contracts.objects import AnyValue, RuntimeInfo, Sandbox
from corten.contracts.runtime import CreateOptions, Stdio
from corten.contracts.sandboxes import READY, SandboxOptions
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from corten.plugin.types import EVENT, SHIM
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.testing.context import FakeContext
from corten.testing.events import RecordingExchange
from corten.testing.sandboxes import SUITE, Check
from corten.zygote.client import Zygote
from corten_runtimes.registration import plugins
from daemon import processes_on
from sandboxes import pod_shim

pytestmark = pytest.mark.integration
NS = "pods"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="csb", dir="/tmp"))
    yield path
    for record in path.glob(f"**/{pod_shim.PID}"):
        try:
            os.killpg(int(record.read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass
    for pid in processes_on(path):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path)


class Daemon:
    """The plugins that have to do with sandboxes, as a daemon on a folder would start them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.exchange = folder, RecordingExchange()
        self.pools, self.supervisor = Pools(), Supervisor()
        made: dict[Any, Any] = {(EVENT, "exchange"): self.exchange}
        found = {(each.type, each.id): each for each in plugins()}
        for id in ("binary", "sandbox"):
            made[SHIM, id] = self._make(found[SHIM, id], {})
        controller = next(r for r in plugins() if str(r.type) == "io.containerd.sandbox.controller.v1")
        self.sandboxes: Any = self._make(controller, made)
        runtime = next(r for r in plugins() if str(r.type) == "io.containerd.runtime.v2")
        self.tasks: Any = self._make(runtime, made)

    def _make(self, registration: Any, instances: dict[Any, Any]) -> Any:
        uri = registration.uri
        context = FakeContext(
            self.folder / "root" / uri,
            self.folder / "state" / uri,
            registration=registration,
            instances=instances,
            pools=self.pools,
            workers=Zygote(()),  # nothing here starts one
            supervisor=self.supervisor,
            grpc_address=f"{self.folder}/none",
            ttrpc_address=f"{self.folder}/none.ttrpc",
        )
        return registration.init(context)

    @property
    def bundles(self) -> list[Path]:
        return list((self.folder / "state").glob("*/pods/*"))

    def exits(self) -> list[Any]:
        found = [e.event for e in self.exchange.envelopes if e.topic == "/sandboxes/exit"]
        return [events.SandboxExit.FromString(event.value) for event in found]


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    made = Daemon(folder)
    await made.tasks.start()
    try:
        yield made
    finally:
        await made.sandboxes.close()
        await made.tasks.close()
        await made.supervisor.close(1.0)
        made.pools.close()


def sandbox(folder: Path, id: str = "pod-1", protocol: str = "ttrpc") -> Sandbox:
    return Sandbox(id, RuntimeInfo(pod_shim.install(folder, protocol)), sandboxer="shim")


@pytest.mark.parametrize("protocol", ["ttrpc", "grpc"])
@pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
async def test_conformance(folder: Path, check: Check, protocol: str) -> None:
    async with daemon(folder) as here:
        await check(here.sandboxes, lambda id: sandbox(folder, id, protocol))
        assert list((folder / "state").glob("io.containerd.sandbox.controller.v1.shim/*/*")) == []


async def test_a_whole_life(folder: Path) -> None:
    async with daemon(folder) as here:
        pods = here.sandboxes
        await pods.create(NS, sandbox(folder), SandboxOptions(netns="/run/netns/x"))
        with pytest.raises(AlreadyExists):
            await pods.create(NS, sandbox(folder), SandboxOptions())
        started = await pods.start(NS, "pod-1")
        assert started.pid > 0 and started.created_at > 0
        assert started.address.startswith("ttrpc+unix:///") and started.version == 3
        found = await pods.status(NS, "pod-1", verbose=True)
        assert (found.state, found.pid, found.info) == (READY, started.pid, {"netns": "/run/netns/x"})
        assert (await pods.platform(NS, "pod-1")).architecture == "riscv64"
        assert (await pods.metrics(NS, "pod-1")).data == AnyValue("example.com/pod", b"42")
        await pods.update(NS, "pod-1", sandbox(folder))
        waiting = [asyncio.create_task(pods.wait(NS, "pod-1")) for _ in range(3)]
        await asyncio.sleep(0)
        await pods.stop(NS, "pod-1", 5)
        assert {(await each).status for each in waiting} == {128 + signal.SIGTERM}
        assert [exit.exit_status for exit in here.exits()] == [128 + signal.SIGTERM]
        await pods.stop(NS, "pod-1")
        await pods.shutdown(NS, "pod-1")
        assert here.bundles == [] and not os.path.exists(f"/proc/{started.pid}")
        assert (await pods.status(NS, "pod-1")).state != READY
        for call in (pods.wait, pods.platform, pods.shutdown, pods.start):
            with pytest.raises(NotFound):
                await call(NS, "pod-1")


@pytest.mark.parametrize("step", ["create", "start"])
async def test_what_fails_leaves_nothing(folder: Path, step: str) -> None:
    async with daemon(folder) as here:
        options = SandboxOptions(annotations={"fail": step})
        with pytest.raises(FailedPrecondition, match="told to fail"):
            await here.sandboxes.create(NS, sandbox(folder), options)
            await here.sandboxes.start(NS, "pod-1")
        assert here.bundles == []
        await here.sandboxes.create(NS, sandbox(folder), SandboxOptions())
        await here.sandboxes.shutdown(NS, "pod-1")


async def test_names_and_runtimes_are_checked(folder: Path) -> None:
    async with daemon(folder) as here:
        with pytest.raises(InvalidArgument):
            await here.sandboxes.create(NS, Sandbox("../x", RuntimeInfo("io.containerd.x.v1")), SandboxOptions())
        with pytest.raises(NotFound, match="no program"):
            await here.sandboxes.create(NS, Sandbox("x", RuntimeInfo("io.containerd.none.v1")), SandboxOptions())
        assert here.bundles == []


async def test_a_shim_without_the_sandbox_api_is_told_so(folder: Path) -> None:
    if shutil.which("containerd-shim-runc-v2") is None:
        pytest.skip("containerd-shim-runc-v2 is not installed")
    async with daemon(folder) as here:
        with pytest.raises(Unimplemented, match="does not speak the sandbox API"):
            await here.sandboxes.create(NS, Sandbox("x", RuntimeInfo("io.containerd.runc.v2")), SandboxOptions())
        assert here.bundles == [] and processes_on(folder) == []


async def test_a_sandbox_outlives_the_daemon(folder: Path) -> None:
    async with daemon(folder) as first:
        await first.sandboxes.create(NS, sandbox(folder), SandboxOptions())
        started = await first.sandboxes.start(NS, "pod-1")
    async with daemon(folder) as second:
        found = await second.sandboxes.status(NS, "pod-1")
        assert (found.state, found.pid) == (READY, started.pid)
        os.kill(started.pid, signal.SIGKILL)
        assert (await second.sandboxes.wait(NS, "pod-1")).status == 137
        assert len(second.exits()) == 1
        await second.sandboxes.shutdown(NS, "pod-1")
        assert second.bundles == []


@pytest.mark.parametrize("running", [True, False])
async def test_a_shim_that_dies_ends_its_sandbox(folder: Path, running: bool) -> None:
    async with daemon(folder) as here:
        await here.sandboxes.create(NS, sandbox(folder), SandboxOptions())
        await here.sandboxes.start(NS, "pod-1")
        shim = int(here.bundles[0].joinpath(pod_shim.PID).read_text())
        if running:
            waiting = asyncio.create_task(here.sandboxes.wait(NS, "pod-1"))
            await asyncio.sleep(0)
            os.kill(shim, signal.SIGKILL)
            assert (await waiting).status == 137
            while here.bundles:  # noqa: ASYNC110  what a daemon has told it does not tell again once it has cleared up
                await asyncio.sleep(0.01)
            assert len(here.exits()) == 1
    if not running:
        os.kill(shim, signal.SIGKILL)
    async with daemon(folder) as here:
        with pytest.raises(NotFound):
            await here.sandboxes.wait(NS, "pod-1")
        assert here.bundles == [] and len(here.exits()) == (0 if running else 1)


async def test_what_another_boot_left_is_not_dialled(folder: Path) -> None:
    async with daemon(folder) as here:
        await here.sandboxes.create(NS, sandbox(folder), SandboxOptions())
        [bundle] = here.bundles
    record = bundle / "bootstrap.json"
    record.write_text(record.read_text().replace((await boot_id()), "another"))
    async with daemon(folder) as here:
        assert (await here.sandboxes.status(NS, "pod-1")).state != READY
        assert here.bundles == []


async def boot_id() -> str:
    return (await asyncio.to_thread(Path("/proc/sys/kernel/random/boot_id").read_text)).strip()


def task(*args: str, **fields: Any) -> CreateOptions:
    import json

    spec = json.dumps({"ociVersion": "1.0.2", "process": {"args": list(args)}, "root": {"path": "rootfs"}})
    return CreateOptions(
        spec=spec.encode(), rootfs=(), stdio=Stdio(), runtime=RuntimeInfo("io.containerd.runc.v2"), **fields
    )


@pytest.mark.parametrize("protocol", ["ttrpc", "grpc", "hvsock"])
@pytest.mark.parametrize("by_address", [False, True])
async def test_tasks_of_a_sandbox_go_to_its_shim(folder: Path, by_address: bool, protocol: str) -> None:
    async with daemon(folder) as here:
        await here.sandboxes.create(NS, sandbox(folder, protocol=protocol), SandboxOptions())
        started = await here.sandboxes.start(NS, "pod-1")
        begins = {"ttrpc": "ttrpc+unix:///", "grpc": "grpc+unix:///", "hvsock": "ttrpc+hvsock:///"}
        assert started.address.startswith(begins[protocol])
        address = {"task_address": started.address, "task_version": 3} if by_address else {}
        made = await here.tasks.create(NS, "c1", task("sleep", "1000", sandbox_id="pod-1", **address))
        assert await made.start() == made.pid
    async with daemon(folder) as here:  # a restart: both are found again
        again = await here.tasks.get(NS, "c1")
        assert again.pid == made.pid
        await again.kill(signal.SIGKILL)
        assert (await again.wait()).status == 137
        assert (await again.delete()).status == 137
        assert (await here.sandboxes.status(NS, "pod-1")).state == READY
        await here.sandboxes.shutdown(NS, "pod-1")


async def test_addresses_of_unknown_protocols_are_refused(folder: Path) -> None:
    async with daemon(folder) as here:
        for address in ("grpc+vsock://3:1", "unix:///x", "ttrpc+tcp://x", "ttrpc+vsock://3"):
            with pytest.raises((InvalidArgument, Unimplemented), match=r"ttrpc"):
                await here.tasks.create(NS, "c1", task("x", sandbox_id="p", task_address=address))
        assert here.bundles == []
