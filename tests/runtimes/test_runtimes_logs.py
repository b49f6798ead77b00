"""Logs in the kubelet's format, written beside the daemon; on every shim that runs here."""

import asyncio
import contextlib
import fcntl
import os
import stat
import sys
import termios
from pathlib import Path
from typing import Any
from urllib.parse import quote

import procfs
import pytest
from corten.contracts.mounts import Mount
from corten.contracts.runtime import Stdio
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.linux import mount
from runtimes.logs import content, parsed
from runtimes.world import NAMESPACE, World, eventually, process

pytestmark = pytest.mark.integration


def logged(path: Path, *, max_line: int = 16384, terminal: bool = False) -> Stdio:
    uri = f"cri://{quote(str(path))}?max_line={max_line}"
    return Stdio("", uri, "" if terminal else uri, terminal)


async def run(runtime: Any, world: World, script: str, stdio: Stdio, **changes: Any) -> Any:
    options = world.options("/bin/sh", "-c", script, stdio=stdio, **changes)
    task = await runtime.create(NAMESPACE, world.id(), options)
    await task.start()
    return task


async def test_both_streams_in_one_file(shims: Any, world: World) -> None:
    path = world.folder / "a log % ü"
    task = await run(shims, world, "echo out; echo err >&2; printf tail", logged(path))
    await task.wait()
    await task.delete()
    lines = parsed(path.read_bytes())
    assert sorted((line.stream, line.tag, line.words) for line in lines) == [
        ("stderr", "F", b"err"), ("stdout", "F", b"out"), ("stdout", "P", b"tail"),
    ]  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_much_output_of_both_streams_is_whole_and_no_line_torn(shims: Any, world: World) -> None:
    path = world.folder / "0.log"
    task = await run(shims, world, "seq 60000 >&2 & seq 100001 160000; wait", logged(path))
    await task.wait()
    await task.delete()
    lines = parsed(path.read_bytes())
    for stream, first in (("stderr", 1), ("stdout", 100001)):
        assert [int(line.words) for line in lines if line.stream == stream] == [*range(first, first + 60000)]


async def test_long_lines_are_cut_and_appended_to_what_is_there(shims: Any, world: World) -> None:
    path = world.folder / "0.log"
    path.write_text("before\n")
    script = "head -c 2500 /dev/zero; echo; head -c 1000 /dev/zero; echo"
    task = await run(shims, world, script, logged(path, max_line=1000))
    await task.wait()
    await task.delete()
    before, _, log = path.read_bytes().partition(b"\n")
    assert before == b"before"
    lines = parsed(log)
    assert [(line.tag, len(line.words)) for line in lines] == [("P", 1000), ("P", 1000), ("F", 500), ("F", 1000)]


async def test_a_terminal_logs_to_stdout_without_carriage_returns(shims: Any, world: World) -> None:
    path = world.folder / "0.log"
    task = await run(shims, world, "echo one; echo two >&2", logged(path, terminal=True))
    await task.wait()
    await task.delete()
    assert [line[1:] for line in parsed(path.read_bytes())] == [("stdout", "F", b"one"), ("stdout", "F", b"two")]


async def test_reopening_after_rotation_loses_nothing(shims: Any, world: World) -> None:
    path = world.folder / "0.log"
    task = await run(shims, world, "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.003; done", logged(path))
    rotated = []
    for number in range(4):
        await eventually(lambda: path.exists() and path.stat().st_size > 500)
        rotated.append(world.folder / f"0.log.{number}")
        path.rename(rotated[-1])
        await task.reopen_log()
        assert path.exists()
        size = rotated[-1].stat().st_size
        await asyncio.sleep(0.05)
        assert rotated[-1].stat().st_size == size, "nothing more goes to the old file once it has returned"
    await task.wait()
    await task.delete()
    log = b"".join(part.read_bytes() for part in [*rotated, path])
    assert content(log, "stdout") == b"".join(b"%d\n" % number for number in range(400))


async def test_reopening_where_it_cannot_be_goes_on_in_the_old_file(shims: Any, world: World) -> None:
    folder = world.folder / "logs"
    folder.mkdir()
    task = await run(shims, world, "while read word; do echo $word; done < /tmp/words", logged(folder / "0.log"))
    await task.wait()
    with pytest.raises(FailedPrecondition):
        await task.reopen_log()
    await task.delete()
    task = await run(shims, world, "sleep 0.4; echo later", logged(folder / "1.log"))
    folder.rename(world.folder / "moved")
    with pytest.raises(NotFound):
        await task.reopen_log()
    await task.wait()
    await task.delete()
    assert content((world.folder / "moved/1.log").read_bytes(), "stdout") == b"later\n"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("cri:///nowhere/0.log", NotFound),
        ("cri://relative/0.log", InvalidArgument),
        ("cri:///tmp/x?max_lines=3", InvalidArgument),
        ("cri:///tmp/x?max_line=-1", InvalidArgument),
        ("cri:///tmp/%zz", InvalidArgument),
    ],
)
async def test_a_log_that_cannot_be_is_refused_and_nothing_left(
    shims: Any, world: World, uri: str, kind: type[CortenError]
) -> None:
    with pytest.raises(kind):
        await runtime_create(shims, world, Stdio("", uri, uri))
    with pytest.raises(InvalidArgument):
        await runtime_create(shims, world, Stdio("cri:stdin", "", ""))
    await world.left_nothing()
    await eventually(lambda: not _processes_of(world), 30)


def _processes_of(world: World) -> list[str]:
    """Shims, by the address of the daemon in their command line."""
    found = []
    for entry in procfs.entries("cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            found += [str(entry)] if f"{world.folder}/e" in words else []
    return found


async def runtime_create(runtime: Any, world: World, stdio: Stdio) -> None:
    await runtime.create(NAMESPACE, world.id(), world.options("/bin/true", stdio=stdio))


async def test_a_link_or_a_fifo_in_place_of_the_log_is_refused(shims: Any, world: World) -> None:
    (world.folder / "link").symlink_to(world.folder / "target")
    os.mkfifo(world.folder / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(CortenError):
            await runtime_create(shims, world, logged(world.folder / name))
    assert not (world.folder / "target").exists()


async def test_no_log_is_no_hindrance(shims: Any, world: World) -> None:
    task = await run(shims, world, "seq 50000", Stdio("", "cri:", "cri:"))
    assert (await task.wait()).status == 0
    await task.delete()


async def test_a_full_disk_stops_the_container_for_a_while_and_the_log_says_what_was_lost(
    shims: Any, world: World
) -> None:
    disk = world.folder / "disk"
    disk.mkdir()
    mount.mount_all([Mount("tmpfs", "tmpfs", "", ("size=256k",))], str(disk))
    path = disk / "0.log"
    script = "seq 200000; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo the end"
    task = await run(shims, world, script, logged(path))
    await eventually(lambda: _sleeps(task.pid) and not _unread(task.pid), 30)  # its output is through, and had no room
    log = path.read_bytes()
    assert log.endswith(b"\n")
    written = content(log, "stdout")
    assert written == b"".join(b"%d\n" % n for n in range(1, written.count(b"\n") + 1))
    os.truncate(path, 0)
    (world.folder / "rootfs/tmp/go").touch()
    await task.wait()
    await task.delete()
    notice, *_, last = parsed(path.read_bytes())
    assert notice.stream == "stderr"
    assert b"bytes of this log were lost" in notice.words
    assert b"No space left" in notice.words
    assert last.words == b"the end"


def _unread(pid: int) -> int:
    """Bytes in the pipe that is a process's stdout."""
    fd = os.open(f"/proc/{pid}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(fd)


def _sleeps(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"sleep\0") for child in children)


async def test_the_output_while_no_daemon_runs_is_all_there(shims: Any, world: World) -> None:
    path = world.folder / "0.log"
    task = await run(shims, world, "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.002; done", logged(path))
    await shims.close()
    await asyncio.sleep(0.4)
    second = await world.runtime()
    try:
        task = await second.get(NAMESPACE, task.id)
        rotated = world.folder / "old"
        path.rename(rotated)
        await task.reopen_log()
        await task.wait()
        await task.delete()
    finally:
        await second.close()
    log = rotated.read_bytes() + path.read_bytes()
    assert content(log, "stdout") == b"".join(b"%d\n" % number for number in range(300))


async def test_an_exec_has_a_log_of_its_own(shims: Any, world: World) -> None:
    task = await run(shims, world, "sleep 60", Stdio())
    with pytest.raises(FailedPrecondition):
        await task.reopen_log()
    await task.exec("e", process(["/bin/echo", "from the exec"]), logged(world.folder / "exec.log"))
    await task.start("e")
    await task.wait("e")
    await task.delete("e")
    assert content((world.folder / "exec.log").read_bytes(), "stdout") == b"from the exec\n"
