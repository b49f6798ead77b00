"""The client's side of stdio: detach keys, FIFOs, and copying until the end or until told to stop."""

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest
from corten.client import detach, fifos, pump
from corten.client.attachment import Attachment, Streams
from corten.client.detach import DetachKeys
from corten.contracts.runtime import Stdio
from corten.errors import InvalidArgument
from hypothesis import given
from hypothesis import strategies as st


def test_detach_keys_are_parsed() -> None:
    assert detach.parse("ctrl-p,ctrl-q") == b"\x10\x11"
    assert detach.parse("ctrl-],x") == b"\x1dx"
    assert detach.parse("") == b""
    for bad in ("ctrl-", "ctrl-pp", "pq", "ctrl-é"):
        with pytest.raises(InvalidArgument, match="detach keys"):
            detach.parse(bad)


def test_detach_keys_are_held_back_and_released() -> None:
    keys = DetachKeys(b"\x10\x11")
    assert keys.pass_on(b"ab\x10") == b"ab"
    assert keys.pass_on(b"c") == b"\x10c"
    assert not keys.pressed
    assert keys.pass_on(b"x\x10\x10\x11never seen") == b"x\x10"
    assert keys.pressed


@given(st.lists(st.binary(max_size=6), max_size=8), st.binary(min_size=1, max_size=3))
def test_detach_keys_lose_nothing(pieces: list[bytes], sequence: bytes) -> None:
    """However the typing is cut, all that comes before the first whole sequence passes, bar a begun one at the end."""
    keys, typed, passed = DetachKeys(sequence), b"".join(pieces), b""
    for piece in pieces:
        passed += keys.pass_on(piece)
        if keys.pressed:
            break
    assert keys.pressed == (sequence in typed)
    if keys.pressed:
        assert passed == typed[: typed.index(sequence)]
    else:
        held = typed[len(passed) :]
        assert typed.startswith(passed) and sequence.startswith(held)


def test_fifos_are_private_and_removed() -> None:
    made = fifos.make(stdin=True, terminal=False)
    try:
        assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
        paths = (made.stdio.stdin, made.stdio.stdout, made.stdio.stderr)
        assert all(stat.S_ISFIFO(os.stat(path).st_mode) for path in paths)
        assert fifos.of(made.stdio) == made
    finally:
        made.remove()
    made.remove()
    assert not made.folder.exists()


def test_a_terminal_has_no_stderr_and_foreign_paths_are_nobodys() -> None:
    made = fifos.make(stdin=False, terminal=True)
    made.remove()
    assert made.stdio.stderr == "" and made.stdio.stdin == "" and made.stdio.terminal
    assert fifos.of(Stdio()) is None
    assert fifos.of(Stdio(stdout="/run/containerd/fifo/1/x-stdout")) is None
    assert fifos.of(Stdio(stdout="file:///var/log/x")) is None


def writer(path: str, data: bytes) -> threading.Thread:
    def write() -> None:
        with open(path, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["buffer", "file", "append"])
def test_everything_arrives(kind: str, fifo: str, tmp_path: Path) -> None:
    data, target, stop = os.urandom(3 << 20), tmp_path / "out", os.pipe()
    source = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    thread, buffer = writer(fifo, data), bytearray()
    if kind == "buffer":
        pump.drain(source, buffer.extend, stop[0])
        found = bytes(buffer)
    else:
        with target.open("ab" if kind == "append" else "wb") as file:  # splice(2) refuses a file opened for appending
            pump.drain(source, file.fileno(), stop[0])
        found = target.read_bytes()
    thread.join()
    for fd in (source, *stop):
        os.close(fd)
    assert found == data


def test_a_sink_that_is_gone_does_not_block_the_container(fifo: str) -> None:
    gone, sink = os.pipe()
    os.close(gone)
    stop = os.pipe()
    source = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    thread = writer(fifo, bytes(4 << 20))
    pump.drain(source, sink, stop[0])
    thread.join(5)
    assert not thread.is_alive()
    for fd in (source, sink, *stop):
        os.close(fd)


async def test_attachment_stops_although_nobody_ever_writes() -> None:
    made = fifos.make(stdin=True, terminal=False)
    typed, _ = os.pipe()
    try:
        attachment = Attachment(made.stdio, Streams(stdin=typed, stdout=None, stderr=None))
        attachment.copy_outputs()
        attachment.copy_input(_nothing)
        await attachment.drained(0.05)
        await asyncio.wait_for(attachment.close(), 5)
    finally:
        made.remove()
        os.close(typed)
        os.close(_)


async def test_end_of_input_is_told_once_all_of_it_is_in_the_fifo() -> None:
    made, ended = fifos.make(stdin=True, terminal=False), asyncio.Event()
    read, write = os.pipe()
    os.write(write, b"typed early")
    os.close(write)

    async def end() -> None:
        ended.set()

    reader = os.open(made.stdio.stdin, os.O_RDONLY | os.O_NONBLOCK)
    attachment = Attachment(made.stdio, Streams(stdin=read, stdout=None, stderr=None))
    try:
        attachment.copy_input(end)
        await asyncio.wait_for(ended.wait(), 5)
        assert os.read(reader, 100) == b"typed early"
        assert os.read(reader, 100) == b""  # no writer is left: the process sees the end
    finally:
        await attachment.close()
        made.remove()
        os.close(reader)
        os.close(read)


async def test_detach_keys_end_the_attachment_and_leave_the_fifo_open() -> None:
    made = fifos.make(stdin=True, terminal=True)
    read, write = os.pipe()
    attachment = Attachment(made.stdio, Streams(stdin=read, stdout=None), detach.parse("ctrl-p,ctrl-q"))
    try:
        attachment.copy_input(_nothing)
        os.write(write, b"ls\n\x10\x11")
        await asyncio.wait_for(attachment.detached.wait(), 5)
    finally:
        await attachment.close()
        made.remove()
        os.close(read)
        os.close(write)


async def _nothing() -> None:
    pass
