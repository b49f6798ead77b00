"""The copier for shims that keep no logs: killed, started again, gone when it has nothing to do; and slow disks."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import procfs
import pytest
from corten.contracts.runtime import Stdio
from corten_runtimes.config import RuncConfig
from runtimes.conftest import over
from runtimes.logs import content
from runtimes.world import NAMESPACE, Reader, World, eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("containerd-shim-runc-v2") is None, reason="no containerd-shim-runc-v2 on PATH"),
]


@pytest.fixture
async def foreign(world: World) -> AsyncIterator[Any]:
    world.config = RuncConfig(shim="binary")
    runtime = await world.runtime()
    yield runtime
    await over(world, runtime)


def copiers(world: World) -> list[int]:
    """Pids of the copiers of a world."""
    found = []
    for entry in procfs.entries("cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if words[0] == b"corten-copier" and words[1].startswith(bytes(world.state)):
                found.append(int(entry.parent.name))
    return found


async def _counting(runtime: Any, world: World, name: str) -> Any:
    script = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.005; done"
    stdio = Stdio("", f"cri://{world.folder}/{name}.log", f"cri://{world.folder}/{name}.log")
    task = await runtime.create(NAMESPACE, world.id(), world.options("/bin/sh", "-c", script, stdio=stdio))
    await task.start()
    return task


async def test_one_copier_serves_all_tasks_and_ends_without_any(foreign: Any, world: World) -> None:
    tasks = [await _counting(foreign, world, name) for name in ("a", "b")]
    assert len(copiers(world)) == 1
    for task in tasks:
        await task.kill(9)
        await task.wait()
        await task.delete()
    await eventually(lambda: not copiers(world), 30)


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon there", "daemon away"])
async def test_a_killed_copier_is_followed_by_one_that_goes_on(foreign: Any, world: World, daemon: bool) -> None:
    task = await _counting(foreign, world, "a")
    log = world.folder / "a.log"
    await eventually(lambda: log.stat().st_size > 1000)
    if not daemon:
        await foreign.close()
    (killed,) = copiers(world)
    os.kill(killed, signal.SIGKILL)
    await asyncio.sleep(0.3)
    runtime = foreign if daemon else await world.runtime()
    try:
        task = await runtime.get(NAMESPACE, task.id)
        await eventually(lambda: copiers(world) not in ([], [killed]))
        out = Reader(world.fifo())
        await task.attach(Stdio("", out.path, ""))
        assert (await task.wait()).status == 0
        assert (await out.end()).endswith(b"399\n")
        await task.delete()
    finally:
        if not daemon:
            await runtime.close()
    lines = [int(line) for line in content(log.read_bytes(), "stdout").split()]
    assert lines == list(range(400)), "what it had not read waited in the FIFO"


async def test_bundles_keep_nothing_of_processes_that_were_deleted(foreign: Any, world: World) -> None:
    task = await _counting(foreign, world, "a")
    assert list(world.tasks.glob("*/streams/init/request"))
    await task.kill(9)
    await task.wait()
    await task.delete()
    await world.left_nothing()


_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878
"""Of linux/fs.h: writers to a file system wait from the one until the other."""


@pytest.fixture
def disk(world: World) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """A disk of its own, and what makes it hang (True) and go on (False)."""
    image, folder = world.folder / "disk.img", world.folder / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-qF", str(image)], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    root, hung = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), False

    def hang(wanted: bool) -> None:
        nonlocal hung
        if wanted != hung:
            fcntl.ioctl(root, _FIFREEZE if wanted else _FITHAW, 0)
            hung = wanted

    try:
        yield folder, hang
    finally:
        hang(False)
        os.close(root)
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_hangs_holds_up_the_logs_on_it_alone(
    foreign: Any, world: World, disk: tuple[Path, Callable[[bool], None]]
) -> None:
    folder, hang = disk
    slow = await _counting(foreign, world, "disk/slow")
    hang(True)
    await asyncio.sleep(0.3)
    reader = Reader(world.fifo())
    await slow.attach(Stdio("", reader.path, ""))  # the copier answers
    quick = await _counting(foreign, world, "quick")
    async with asyncio.timeout(30):
        assert (await quick.wait()).status == 0
        await quick.delete()
    numbers = b"".join(b"%d\n" % number for number in range(400))
    assert content((world.folder / "quick.log").read_bytes(), "stdout") == numbers
    hang(False)
    async with asyncio.timeout(30):
        assert (await slow.wait()).status == 0
        await slow.delete()
    assert content((folder / "slow.log").read_bytes(), "stdout") == numbers
    assert numbers.endswith(await reader.end())
