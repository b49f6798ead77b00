"""runc's options reach runc, the shim and the streams; and what kills for want of memory is told, on both cgroups."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions, Stdio
from corten.errors import CortenError, InvalidArgument
from corten_runtimes.shim.cgroups import Cgroups
from corten_runtimes.shim.loop import URGENT
from corten_runtimes.shim.oom import OomWatch
from runtimes.world import NAMESPACE, RUNC, Reader, World, eventually


def _with(options: CreateOptions, **chosen: Any) -> CreateOptions:
    message = oci_pb2.Options(**chosen)
    runc = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", message.SerializeToString()))
    return replace(options, runtime=runc)


@pytest.fixture
def recorder(world: World) -> tuple[str, Callable[[], list[str]]]:
    """A program that writes down how it is called and is runc otherwise, but without systemd; and its calls."""
    log, program = world.folder / "calls", world.folder / "recorder"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *--systemd-cgroup*) exit 1;; esac\nexec runc "$@"\n'
    )
    program.chmod(0o755)
    return str(program), lambda: log.read_text().splitlines()


@pytest.mark.integration
async def test_flags_reach_runc(world: World, runtime: Any, recorder: tuple[str, Callable[[], list[str]]]) -> None:
    program, calls = recorder
    chosen = {"binary_name": program, "root": str(world.folder / "elsewhere")}
    options = _with(world.options("/bin/true"), **chosen, no_pivot_root=True, no_new_keyring=True)
    task = await runtime.create(NAMESPACE, "t", options)
    assert (world.folder / "elsewhere" / NAMESPACE / "t/state.json").exists()
    await task.start()
    assert (await task.wait()).status == 0
    await task.delete()
    create = calls()[0].split()
    assert {"--no-pivot", "--no-new-keyring"} < set(create)
    assert create[:2] == ["--root", str(world.folder / "elsewhere" / NAMESPACE)]
    assert [line.split()[6] for line in calls()] == ["create", "start", "delete"]
    await world.left_nothing()


async def test_options_that_runc_does_not_know_are_refused(world: World, shims: Any) -> None:
    """They would go unread; of the second Debian's shim dies."""
    for unknown in (AnyValue("bogus", b"x"), AnyValue("containerd.runc.v1.CheckpointOptions")):
        with pytest.raises(InvalidArgument, match=r"it takes containerd\.runc\.v1\.Options"):
            await shims.create(NAMESPACE, "t", replace(world.options("/bin/true"), runtime=RuntimeInfo(RUNC, unknown)))
    await world.left_nothing()


@pytest.mark.integration
async def test_the_systemd_driver_is_asked_for(
    world: World, runtime: Any, recorder: tuple[str, Callable[[], list[str]]]
) -> None:
    """There is no systemd here: what runc is asked can be seen, and that a refusal leaves nothing."""
    program, calls = recorder
    options = _with(world.options("/bin/true", cgroupsPath="a.slice:b:c"), binary_name=program, systemd_cgroup=True)
    with pytest.raises(CortenError):
        await runtime.create(NAMESPACE, "t", options)
    assert all("--systemd-cgroup" in line for line in calls())
    await world.left_nothing()


@pytest.mark.integration
async def test_a_runtime_that_is_none_is_named(world: World, runtime: Any) -> None:
    other = world.folder / "silent"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    for binary, says in ((str(other), f"{other} ended with status 3"), ("/no/runc", '"/no/runc": no such program \\('),
                         ("norunc", "no such program on PATH")):  # fmt: skip
        with pytest.raises(CortenError, match=says):
            await runtime.create(NAMESPACE, "t", _with(world.options("/bin/true"), binary_name=binary))
    await world.left_nothing()


@pytest.mark.integration
async def test_streams_belong_to_whom_the_options_name(world: World, runtime: Any) -> None:
    out = Reader(world.fifo())
    options = _with(world.options("/bin/echo", "x", stdio=Stdio(stdout=out.path)), io_uid=1234, io_gid=4321)
    task = await runtime.create(NAMESPACE, "t", options)
    assert os.stat(out.path).st_gid == 4321  # runc has given them to the container's user then
    await task.start()
    assert await out.end() == b"x\n"
    await task.wait()
    await task.delete()


@pytest.mark.integration
async def test_a_shim_joins_the_cgroup_that_is_named(world: World, runtime: Any) -> None:
    group = Path(f"/sys/fs/cgroup/pids/crt{os.getpid()}-shim")
    if not group.parent.is_dir():
        pytest.skip("no pids controller of cgroup v1")
    with pytest.raises(InvalidArgument, match="there is no such cgroup"):
        await runtime.create(NAMESPACE, "t", _with(world.options("/bin/true"), shim_cgroup=f"/{group.name}"))
    await world.left_nothing()
    group.mkdir()
    try:
        task = await runtime.create(NAMESPACE, "t", _with(world.options("/bin/true"), shim_cgroup=f"/{group.name}"))
        shim = int(Path(f"/proc/{task.pid}/stat").read_text().rpartition(")")[2].split()[1])
        await eventually(lambda: (group / "cgroup.procs").read_text().split() == [str(shim)])  # its worker has parked
        await task.delete()
    finally:
        await eventually(lambda: _removed(group))


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.integration
async def test_a_kill_for_want_of_memory_is_told(world: World, runtime: Any) -> None:
    options = world.options(
        "/bin/sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1", resources={"memory": {"limit": 16 << 20}}
    )
    task = await runtime.create(NAMESPACE, "t", options)
    await task.start()
    assert (await task.wait()).status == 137
    await eventually(lambda: "/tasks/oom" in world.events.topics("t"))
    await task.delete()


class HandLoop:
    """A loop whose events a test gives by hand: a made tree has no files that become urgent."""

    def __init__(self) -> None:
        self.handlers: dict[int, tuple[int, Callable[[int], None]]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = (events, handler)

    def forget(self, fd: int) -> None:
        self.handlers.pop(fd, None)


def test_cgroup_v2_tells_by_its_counter(tmp_path: Path) -> None:
    counters, told, loop = tmp_path / "memory.events", list[str](), HandLoop()

    def count(kills: int, high: int = 0) -> None:
        counters.write_text(f"low 0\nhigh {high}\nmax 0\noom 0\noom_kill {kills}\n")
        for events, handler in list(loop.handlers.values()):
            assert events == URGENT
            handler(URGENT)

    count(2)
    watch = OomWatch.start(loop, Cgroups({"": str(tmp_path)}), lambda: told.append("kill"))  # type: ignore[arg-type]
    assert watch is not None
    count(2, high=5)  # another counter
    assert told == []
    count(3)
    count(3)
    count(5)
    assert told == ["kill", "kill"]
    watch.close()
    assert loop.handlers == {}


def test_no_memory_controller_is_no_error(tmp_path: Path) -> None:
    for cgroups in (Cgroups({}), Cgroups({"": str(tmp_path)}), Cgroups({"memory": str(tmp_path)})):
        assert OomWatch.start(HandLoop(), cgroups, lambda: None) is None  # type: ignore[arg-type]
