"""Stdio over the streaming API: the own shim serves streams, to a client that speaks bytes put together by hand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Stdio
from corten.errors import AlreadyExists, CortenError, InvalidArgument, Unimplemented
from runtimes.hand_streams import CLOSED, DATA, EMPTY, REQUEST, RESPONSE, HandStreams, data, field, piece_in, update
from runtimes.world import NAMESPACE, World, eventually, process, shim_processes

pytestmark = pytest.mark.integration
WINDOW = 64 * 1024


async def _made(runtime: Any, world: World, *args: str, stdio: Stdio | None = None) -> tuple[Any, str]:
    """A task that is started, and the socket of its shim."""
    task = await runtime.create(NAMESPACE, world.id(), world.options(*args, stdio=stdio or Stdio()))
    await task.start()
    record = json.loads((world.tasks / task.id / "bootstrap.json").read_text())
    return task, str(record["address"]).removeprefix("unix://")


async def _all_of(client: HandStreams, stream: int, granted: int = 1 << 20) -> bytes:
    """Read one stream to its end."""
    client.send(stream, update(granted))
    got = b""
    while True:
        came, kind, flags, message = await client.next()
        assert (came, kind) == (stream, DATA)
        if flags & CLOSED:
            assert (flags, message) == (CLOSED | EMPTY, b"")
            return got
        got += piece_in(message)
        client.send(stream, update(len(piece_in(message))))


def _keeper(task: Any) -> int:
    return int(Path(f"/proc/{task.pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_the_bytes_of_an_exec_with_three_streams(runtime: Any, world: World) -> None:
    task, socket = await _made(runtime, world, "/bin/sleep", "600")
    client = await HandStreams.connect(socket)
    stdin, stdout, stderr = [await client.open(f"e-{name}") for name in ("stdin", "stdout", "stderr")]
    into, out, err = (f"ttrpc+unix://{socket}?streaming_id=e-{name}" for name in ("stdin", "stdout", "stderr"))
    await task.exec("e", process(["/bin/sh", "-c", "cat; echo over >&2; exit 5"]), Stdio(into, out, err))
    await task.start("e")
    assert await client.next() == (stdin, DATA, 0, update(WINDOW)), "stdin's reader grants a window"
    client.send(stdin, data(b"ping\n"))
    client.send(stdout, update(3))
    assert await client.next() == (stdout, DATA, 0, data(b"pin")), "no more than was granted"
    client.send(stdout, update(100))
    assert await client.next() == (stdout, DATA, 0, data(b"g\n"))
    client.close_send(stdin)
    client.send(stderr, update(100))
    assert (await task.wait("e")).status == 5
    rest = sorted([await client.next() for _ in range(4)])
    end = (DATA, CLOSED | EMPTY, b"")
    assert rest == [(stdin, *end), (stdout, *end), (stderr, DATA, 0, data(b"over\n")), (stderr, *end)]
    await task.delete("e")
    await client.leave()


async def test_init_waits_for_its_reader(runtime: Any, world: World) -> None:
    task, socket = await _made(
        runtime, world, "/bin/sh", "-c", "seq 100000", stdio=Stdio("", "stream://late", "stream://late-err")
    )
    client = await HandStreams.connect(socket)
    out = await client.open("late")
    assert await _all_of(client, out) == b"".join(b"%d\n" % number for number in range(1, 100001))
    err = await client.open("late-err")
    assert await _all_of(client, err) == b""
    assert (await task.wait()).status == 0
    await task.delete()
    await client.leave()


async def test_a_reader_that_leaves_and_one_that_comes(runtime: Any, world: World) -> None:
    script = "seq 30000; read line; echo got $line"
    stdio = Stdio("stream://in", "stream://out", "")
    task, socket = await _made(runtime, world, "/bin/sh", "-c", script, stdio=stdio)
    first = await HandStreams.connect(socket)
    out, got = await first.open("out"), b""
    first.send(out, update(40000))
    while len(got) < 40000:
        got += piece_in((await first.next())[3])
    await first.leave()
    await eventually(lambda: len(shim_processes(_keeper(task))) == 1)  # what it knows is parcelled up meanwhile
    second = await HandStreams.connect(socket)
    into = await second.open("in")
    assert await second.next() == (into, DATA, 0, update(WINDOW))
    second.send(into, data(b"it\n"))
    third = await HandStreams.connect(socket)
    got += await _all_of(third, await third.open("out"))
    assert got == b"".join(b"%d\n" % number for number in range(1, 30001)) + b"got it\n"
    assert (await task.wait()).status == 0
    await task.delete()
    await second.leave()
    await third.leave()


async def test_the_next_who_opens_a_stream_has_it(runtime: Any, world: World) -> None:
    task, socket = await _made(runtime, world, "/bin/sh", "-c", "sleep 0.5; echo x", stdio=Stdio("", "stream://o", ""))
    first, second = await HandStreams.connect(socket), await HandStreams.connect(socket)
    lost, kept = await first.open("o"), await second.open("o")
    stream, kind, _, message = await first.next()
    assert (stream, kind) == (lost, RESPONSE)
    assert b"anew" in message
    assert await _all_of(second, kept) == b"x\n"
    await task.wait()
    await task.delete()
    await first.leave()
    await second.leave()


async def test_a_terminal(runtime: Any, world: World) -> None:
    task, socket = await _made(runtime, world, "/bin/sleep", "600")
    client = await HandStreams.connect(socket)
    await task.exec(
        "t", process(["/bin/sh", "-c", "[ -t 1 ] && stty -echo; echo ready; read x; echo got $x"], terminal=True),
        Stdio("stream://tin", "stream://tout", "", terminal=True),
    )  # fmt: skip
    await task.start("t")
    stdin = await client.open("tin")
    assert await client.next() == (stdin, DATA, 0, update(WINDOW))
    out = await HandStreams.connect(socket)
    stdout = await out.open("tout")
    out.send(stdout, update(7))
    got = b""
    while len(got) < 7:
        got += piece_in((await out.next())[3])
    client.send(stdin, data(b"hi\n"))
    assert got + await _all_of(out, stdout) == b"ready\r\ngot hi\r\n"
    await out.leave()
    assert (await task.wait("t")).status == 0
    await task.delete("t")
    await client.leave()


async def test_a_process_that_closes_its_stdin(runtime: Any, world: World) -> None:
    task, socket = await _made(
        runtime, world, "/bin/sh", "-c", "exec <&-; sleep 600", stdio=Stdio("stream://i", "", "")
    )
    client = await HandStreams.connect(socket)
    stdin = await client.open("i")
    assert await client.next() == (stdin, DATA, 0, update(WINDOW))
    await eventually(lambda: not Path(f"/proc/{task.pid}/fd/0").exists())
    client.send(stdin, data(b"nobody reads it"))
    assert await client.next() == (stdin, DATA, CLOSED | EMPTY, b"")
    await client.leave()


async def test_what_does_not_keep_to_the_protocol_is_refused(runtime: Any, world: World) -> None:
    task, socket = await _made(runtime, world, "/bin/sleep", "600", stdio=Stdio("stream://i", "", ""))
    client = await HandStreams.connect(socket)

    async def refused(stream: int, *words: bytes) -> None:
        came, kind, _, message = await client.next()
        assert (came, kind) == (stream, RESPONSE)
        assert all(word in message for word in words), message

    await refused(client.begin(flags=CLOSED), b"stream of messages")
    stream = client.begin()
    client.send(stream, data(b"x"))
    await refused(stream, b"StreamInit")
    stream = client.begin()
    client.close_send(stream)
    await refused(stream, b"StreamInit")
    stream = client.begin()
    client.send(stream, b"\xff\xff")
    await refused(stream, b"")
    stream = await client.open("i")
    assert await client.next() == (stream, DATA, 0, update(WINDOW))
    for _ in range(12):
        client.send(stream, data(bytes(WINDOW // 2)))
    last = await client.next()
    while last[1] == DATA:  # a pipe's worth is granted anew
        last = await client.next()
    assert last[:2] == (stream, RESPONSE)
    assert b"granted" in last[3]
    client.frame(99, DATA, 0, data(b"of no stream"))
    client.frame(101, 7, 0, b"of a later protocol")
    client.frame(103, REQUEST, 0, field(1, b"no.such.Service") + field(2, b"M"))
    await refused(103, b"no such method")
    assert (await task.state()).pid == task.pid
    await client.leave()


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("ttrpc+unix:///run/other.sock?streaming_id=x", InvalidArgument),
        ("grpc+vsock://3:1024?streaming_id=x", Unimplemented),
        ("stream://", InvalidArgument),
        ("ttrpc+unix:///run/other.sock", InvalidArgument),
    ],
)
async def test_streams_of_somebody_else_are_refused(
    runtime: Any, world: World, uri: str, kind: type[CortenError]
) -> None:
    with pytest.raises(kind) as refused:
        await runtime.create(NAMESPACE, world.id(), world.options("/bin/true", stdio=Stdio("", uri, "")))
    assert uri.partition("?")[0] in refused.value.message
    await world.left_nothing()


async def test_a_stream_has_one_process(runtime: Any, world: World) -> None:
    task, _ = await _made(runtime, world, "/bin/sleep", "600", stdio=Stdio("", "stream://mine", ""))
    await task.exec("e", process(["/bin/true"]), Stdio("", "stream://mine", ""))
    with pytest.raises(AlreadyExists, match="stream://mine"):
        await task.start("e")
    await task.delete("e")


async def test_a_task_is_deleted_though_nobody_ever_came(runtime: Any, world: World) -> None:
    task, _ = await _made(runtime, world, "/bin/echo", "unread", stdio=Stdio("", "stream://unread", ""))
    await task.wait()
    async with asyncio.timeout(30):
        await task.delete()
    await world.left_nothing()
