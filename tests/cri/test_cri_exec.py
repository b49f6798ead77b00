"""ExecSync: codes and streams, bounds on output and time, and nothing left running."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from counts import count
from cri.cri_world import Cri, CriNode, until

pytestmark = pytest.mark.integration

PROBES_AT_ONCE = 8


async def test_codes_and_streams(cri: Cri) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    reply = await cri.exec(container, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (reply.exit_code, reply.stdout, reply.stderr) == (9, b"out\n", b"err\n")
    with pytest.raises(CortenError, match="no-such-program"):
        await cri.exec(container, "no-such-program")
    with pytest.raises(InvalidArgument):
        await cri.exec(container)
    with pytest.raises(NotFound):
        await cri.exec("0000", "true")
    await cri.stop(container)
    with pytest.raises(FailedPrecondition, match="does not run"):
        await cri.exec(container, "true")


async def test_a_timeout_ends_all_that_the_command_started(cri: Cri) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    with pytest.raises(DeadlineExceeded, match="timeout 1s exceeded"):
        await cri.exec(container, "sh", "-c", "sleep 4321 & sleep 4321 & wait", timeout=1)

    async def gone() -> bool:
        return "4321" not in await cri.output(container, "ps")

    await until(gone, "what the command started is gone")


async def test_a_background_process_that_holds_the_output_does_not_hold_the_call(cri: Cri) -> None:
    """CVE-2026-53495: without a limit such calls pile up until memory is full."""
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    reply = await asyncio.wait_for(cri.exec(container, "sh", "-c", "echo soon; sleep 999 &", timeout=0), 30)
    assert (reply.exit_code, reply.stdout) == (0, b"soon\n")


async def test_output_beyond_the_bound_is_read_and_dropped(cri: Cri, node: CriNode) -> None:
    """CVE-2022-31030: unbounded output of ExecSync."""
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    before = psutil.Process(node.daemon.pid).memory_info().rss
    reply = await cri.exec(container, "sh", "-c", "head -c 200000000 /dev/zero; echo end >&2", timeout=60)
    assert (16 << 20) - 4096 < len(reply.stdout) < 16 << 20
    assert (reply.stderr, reply.exit_code) == (b"end\n", 0)
    both = await cri.exec(container, "sh", "-c", "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2")
    assert len(both.stdout) == len(both.stderr) > (8 << 20) - 4096
    assert psutil.Process(node.daemon.pid).memory_info().rss - before < 150 << 20


async def test_probes_leave_nothing_behind(cri: Cri, node: CriNode) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    daemon = psutil.Process(node.daemon.pid)

    async def probe(number: int) -> None:
        for _ in range(number):
            assert (await cri.exec(container, "true")).exit_code == 0

    await probe(20)
    before = (len(os.listdir(f"/proc/{daemon.pid}/fd")), daemon.num_threads(), daemon.memory_info().rss)
    total = count("exec probes")
    async with asyncio.TaskGroup() as group:
        for _ in range(PROBES_AT_ONCE):
            group.create_task(probe(total // PROBES_AT_ONCE))
    fds, threads, memory = len(os.listdir(f"/proc/{daemon.pid}/fd")), daemon.num_threads(), daemon.memory_info().rss
    assert fds <= before[0] + PROBES_AT_ONCE
    assert threads <= before[1] + 2 * PROBES_AT_ONCE
    assert memory <= before[2] + (16 << 20)
    folder = node.daemon.state / "io.containerd.grpc.v1.cri" / "containers" / container
    assert list(Path(folder).iterdir()) == []
    request = pb.ContainerStatusRequest(container_id=container)
    assert (await cri.call("ContainerStatus", request)).status.state == pb.CONTAINER_RUNNING
