"""Exec, attach and port-forward through a real daemon with real containers; and that nothing of them stays behind."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from counts import count
from cri.cri_world import Cri, CriNode, until
from cri.stream_world import SpdyClient, run_spdy

pytestmark = pytest.mark.integration

V5 = "v5.channel.k8s.io"


async def exec_url(cri: Cri, container: str, *command: str, streams: str = "oe") -> str:
    flags = {"stdin": "i" in streams, "stdout": "o" in streams, "stderr": "e" in streams, "tty": "t" in streams}
    return str((await cri.call("Exec", pb.ExecRequest(container_id=container, cmd=command, **flags))).url)


async def attach_url(cri: Cri, container: str, streams: str = "oe") -> str:
    flags = {"stdin": "i" in streams, "stdout": "o" in streams, "stderr": "e" in streams, "tty": "t" in streams}
    return str((await cri.call("Attach", pb.AttachRequest(container_id=container, **flags))).url)


async def sleeper(cri: Cri, **changes: Any) -> str:
    return await cri.started(await cri.run_pod(), "sleep", "1000", **changes)


def growth(node: CriNode) -> tuple[int, int, int]:
    """Descriptors and threads of the daemon, and files that streams left."""
    threads = re.search(r"Threads:\s+(\d+)", Path(f"/proc/{node.daemon.pid}/status").read_text())
    assert threads is not None
    left = list((node.daemon.state / "io.containerd.grpc.v1.cri" / "streams").iterdir())
    return len(os.listdir(f"/proc/{node.daemon.pid}/fd")), int(threads[1]), len(left)


def processes(node: CriNode, words: str) -> list[str]:
    """Pids of processes with these words in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if line.startswith(words):
            found.append(pid)
    return found


async def test_a_command_has_its_streams_and_its_status(cri: Cri) -> None:
    container = await sleeper(cri)
    script = "cat; echo done; echo problem >&2; exit 7"
    url = await exec_url(cri, container, "sh", "-c", script, streams="ioe")
    found = await run_spdy(url, "stdin", "stdout", "stderr", input=b"typed\n")
    assert (found["stdout"], found["stderr"]) == (b"typed\ndone\n", b"problem\n")
    assert b'"ExitCode","message":"7"' in found["error"]


async def test_much_data_goes_through_unharmed_both_ways(cri: Cri) -> None:
    container = await sleeper(cri)
    data = os.urandom(1 << 20) * 8
    found = await run_spdy(await exec_url(cri, container, "cat", streams="io"), "stdin", "stdout", input=data)
    assert found["stdout"] == data


async def test_half_closing_by_version_5(cri: Cri) -> None:
    container = await sleeper(cri)
    url = await exec_url(cri, container, "sh", "-c", "wc -c; echo after", streams="io")
    async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=[V5]) as socket:
        await socket.send_bytes(b"\0twelve bytes")
        await socket.send_bytes(bytes([255, 0]))
        output = b"".join([message.data[1:] async for message in socket if message.data[0] == 1])
    assert output.split() == [b"12", b"after"]


async def test_a_terminal_has_the_size_of_the_client_s(cri: Cri) -> None:
    container = await sleeper(cri)
    url = await exec_url(cri, container, "sh", streams="iot")
    client = await SpdyClient.connect(url)
    error, stdin, stdout, resize = (client.open(streamType=type) for type in ("error", "stdin", "stdout", "resize"))

    async def typed(text: bytes, answer: bytes) -> None:
        client.send(stdin, text)
        while answer not in client.received.get(stdout, b""):
            assert await client.read_some(), client.received

    client.send(resize, b'{"Width":77,"Height":33}')
    await typed(b"stty size; echo $TERM\n", b"33 77\r\nxterm")
    client.send(resize, b'{"Width":100,"Height":50}')
    await typed(b"stty size\n", b"50 100")
    client.send(stdin, b"exit 3\n")
    await client.read_to_end()
    assert client.status(error)["details"]["causes"][0]["message"] == "3"
    await client.close()


async def test_a_terminal_whose_client_goes_is_hung_up(cri: Cri, node: CriNode) -> None:
    container = await sleeper(cri)
    client = await SpdyClient.connect(await exec_url(cri, container, "sh", "-c", "sleep 98761", streams="iot"))
    for type in ("error", "stdin", "stdout", "resize"):
        client.open(streamType=type)
    await until(lambda: _is(processes(node, "sleep 98761")), "the command runs")
    client.writer.transport.abort()
    await until(lambda: _is(not processes(node, "sleep 98761")), "it was hung up")


async def test_a_command_without_a_terminal_outlives_its_client(cri: Cri, node: CriNode) -> None:
    container = await sleeper(cri)
    script = (
        "touch /tmp/begun; sleep 1; for n in 1 2 3 4 5 6 7 8; do head -c 100000 /dev/zero; done; touch /tmp/finished"
    )
    client = await SpdyClient.connect(await exec_url(cri, container, "sh", "-c", script, streams="oe"))
    for type in ("error", "stdout", "stderr"):
        client.open(streamType=type)

    async def there(file: str) -> bool:
        return int((await cri.exec(container, "ls", file)).exit_code) == 0

    await until(lambda: there("/tmp/begun"), "the command runs")
    client.writer.transport.abort()
    await until(lambda: there("/tmp/finished"), "its output is dropped, so that it can go on")
    await until(lambda: _is(growth(node)[2] == 0), "then nothing of it is left")


async def test_those_who_attach_see_and_type(cri: Cri) -> None:
    pod = await cri.run_pod()
    script = "while read line; do echo got $line; echo and >&2; done; echo end"
    container = await cri.started(pod, "sh", "-c", script, stdin=True, stdin_once=True)
    watching = await SpdyClient.connect(await attach_url(cri, container, "oe"))
    ids = {type: watching.open(streamType=type) for type in ("error", "stdout", "stderr")}
    while len(watching.replied) < 3:
        assert await watching.read_some()
    await asyncio.sleep(0.3)  # streams are joined to the container just after the replies
    found = await run_spdy(await attach_url(cri, container, "ioe"), "stdin", "stdout", "stderr", input=b"one\ntwo\n")
    assert found["stdout"] == b"got one\ngot two\nend\n"
    assert found["stderr"] == b"and\nand\n"
    assert b"Success" in found["error"]
    await watching.read_to_end()
    assert watching.received[ids["stdout"]] == b"got one\ngot two\nend\n"
    await watching.close()
    await cri.ended(container)
    assert "got two" in await cri.log(container)


async def test_a_terminal_is_watched_without_asking_for_one(cri: Cri) -> None:
    container = await cri.started(await cri.run_pod(), "sh", "-c", "read x; echo bye $x", stdin=True, tty=True)
    watching = await SpdyClient.connect(await attach_url(cri, container, "oe"))
    ids = {type: watching.open(streamType=type) for type in ("error", "stdout", "stderr")}
    while len(watching.replied) < 3:
        assert await watching.read_some()
    await asyncio.sleep(0.3)
    await run_spdy(await attach_url(cri, container, "io"), "stdin", "stdout", input=b"now\n")
    await watching.read_to_end()
    await watching.close()
    assert b"bye now" in watching.received[ids["stdout"]]
    assert watching.status(ids["error"])["status"] == "Success"


async def test_input_that_ends_only_lets_go_where_the_container_goes_on(cri: Cri) -> None:
    container = await cri.started(
        await cri.run_pod(), "sh", "-c", "while read l; do echo $l; done; sleep 1000", stdin=True
    )
    for word in (b"first", b"second"):
        await run_spdy(await attach_url(cri, container, "io"), "stdin", "stdout", input=word + b"\n")
    await until(lambda: _log_has(cri, container, "second"), "both were typed")
    assert (await cri.status(container)).state == pb.CONTAINER_RUNNING


async def test_cve_2025_64329_dropped_attachments_leave_nothing(cri: Cri, node: CriNode) -> None:
    script = "while true; do echo x; sleep 0.05; done"
    container = await cri.started(await cri.run_pod(), "sh", "-c", script, stdin=True)
    before = growth(node)
    for _ in range(count("dropped attachments")):
        client = await SpdyClient.connect(await attach_url(cri, container, "ioe"))
        for type in ("error", "stdin", "stdout", "stderr"):
            client.open(streamType=type)
        while not client.received:
            assert await client.read_some()
        client.writer.transport.abort()
    await until(lambda: _is(growth(node)[2] == 0), "every FIFO is gone")
    await until(lambda: _is(growth(node)[0] <= before[0] + 3), "and every descriptor")
    assert growth(node)[1] <= before[1] + 2
    assert (await cri.status(container)).state == pb.CONTAINER_RUNNING


async def test_short_execs_leave_nothing_behind(cri: Cri, node: CriNode) -> None:
    container = await sleeper(cri)

    async def one(number: int) -> None:
        command = ["true"] if number % 4 else ["no-such-program"]
        url = await exec_url(cri, container, *command)
        if number % 5 == 0:
            client = await SpdyClient.connect(url)
            client.open(streamType="error")
            client.writer.transport.abort()
        else:
            found = await run_spdy(url, "stdout", "stderr")
            assert (b"Success" in found["error"]) == bool(number % 4)

    for number in range(8):
        await one(number)
    before = growth(node)
    for number in range(count("streamed execs")):
        await one(number)
    await until(lambda: _is(growth(node)[2] == 0), "every FIFO is gone")
    await until(lambda: _is(growth(node)[0] <= before[0] + 3), "and every descriptor")
    assert growth(node)[1] <= before[1] + 2


async def test_what_does_not_run_has_no_streams(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.create(pod, cri.config("sleep", "1000"))
    with pytest.raises(FailedPrecondition, match="does not run"):
        await exec_url(cri, container, "true")
    with pytest.raises(FailedPrecondition, match="does not run"):
        await attach_url(cri, container)
    for call, request in (
        ("Exec", pb.ExecRequest(container_id="none", cmd=["true"], stdout=True)),
        ("Attach", pb.AttachRequest(container_id="none", stdout=True)),
        ("PortForward", pb.PortForwardRequest(pod_sandbox_id="none")),
    ):
        with pytest.raises(NotFound, match="none"):
            await cri.call(call, request)
    await cri.start(container)
    with pytest.raises(InvalidArgument, match="no command"):
        await exec_url(cri, container)
    with pytest.raises(InvalidArgument, match="tty and stderr"):
        await exec_url(cri, container, "true", streams="oet")
    url = await exec_url(cri, container, "true")
    await cri.stop(container)
    assert b"does not run" in (await run_spdy(url, "stdout", "stderr"))["error"]
    await cri.stop_pod(pod)
    with pytest.raises(FailedPrecondition, match="not ready"):
        await cri.call("PortForward", pb.PortForwardRequest(pod_sandbox_id=pod))


_SERVER = "import socket as s; l = s.create_server(('127.0.0.1', 8086)); print(flush=True)\nwhile True:\n c = l.accept()[0]; c.sendall(c.recv(99).upper()); c.close()"  # noqa: E501


@pytest.mark.parametrize("own_network", [True, False])
async def test_ports_of_pods_are_reached(cri: Cri, own_network: bool) -> None:
    pod = await cri.run_pod(cri.networked() if own_network else cri.pod_config())
    inside: list[str] = []
    if own_network:
        netns = (await cri.pod_info(pod))["sandboxMetadata"]["Metadata"]["NetNSPath"]
        inside = ["nsenter", f"--net={netns}"]
    server = await asyncio.create_subprocess_exec(
        *inside, sys.executable, "-c", _SERVER, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        await asyncio.wait_for(server.stdout.readline(), 20)
        url = (await cri.call("PortForward", pb.PortForwardRequest(pod_sandbox_id=pod))).url
        client = await SpdyClient.connect(url, "portforward.k8s.io")
        for number in range(3):
            words = {"port": "8086", "requestID": str(number)}
            client.open({"streamType": "error", **words}, fin=True)
            data = client.open({"streamType": "data", **words})
            client.send(data, b"knock", fin=True)
            while data not in client.ended:
                assert await client.read_some()
            assert client.received[data] == b"KNOCK"
        await client.close()
    finally:
        server.kill()
        await server.wait()
        server._transport.close()  # type: ignore[attr-defined]


async def test_streams_end_with_the_daemon_and_containers_go_on(cri: Cri, node: CriNode) -> None:
    container = await sleeper(cri)
    client = await SpdyClient.connect(await exec_url(cri, container, "sleep", "300", streams="o"))
    for type in ("error", "stdout"):
        client.open(streamType=type)
    while len(client.replied) < 2:
        assert await client.read_some()
    await cri.restart(node.daemon.stop)
    while await client.read_some():
        pass
    await client.close()
    assert (await cri.status(container)).state == pb.CONTAINER_RUNNING
    found = await run_spdy(await exec_url(cri, container, "echo", "again", streams="o"), "stdout")
    assert found["stdout"] == b"again\n"


async def _is(value: object) -> bool:
    return bool(value)


async def _log_has(cri: Cri, container: str, words: str) -> bool:
    return words in await cri.log(container)
