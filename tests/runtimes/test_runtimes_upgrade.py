"""Running shims and a new version: of the files below them, and of the protocol that they speak."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import corten
import corten_runtimes
import pytest
from corten.api.ttrpc import request_pb2
from corten.api.types.runc.options import oci_pb2  # noqa: F401  (the copy below must be whole before it is broken)
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import Status, Stdio
from corten.errors import CortenError, FailedPrecondition
from corten.wire.ttrpc import frames
from corten.zygote.client import Zygote
from corten_runtimes import bundle as bundles
from runtimes.conftest import clear
from runtimes.world import NAMESPACE, Reader, World, eventually, folder, opened, process

DATA = Path(__file__).with_name("data")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Zygote]]:
    """A copy of the packages, and a zygote that has imported them from there."""
    for package in (corten, corten_runtimes):
        assert package.__file__ is not None
        shutil.copytree(Path(package.__file__).parent, tmp_path / package.__name__)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    zygote = Zygote.launch(["corten_runtimes.shim.warm"])
    assert zygote.preload_failures() == {}
    yield tmp_path, zygote
    zygote.close()


def _replace(site: Path) -> None:
    """What an upgrade does, at its worst: every file is another, and none of them can be imported or read."""
    for path in [path for path in site.rglob("*") if path.is_file()]:
        path.unlink()
        path.write_text("raise SystemExit('a file of the new version was used by a process of the old one')")
    shutil.rmtree(site / "corten_runtimes")


@pytest.mark.integration
async def test_shims_survive_an_upgrade_of_the_files_below_them(installed: tuple[Path, Zygote]) -> None:
    site, zygote = installed
    with folder() as path:
        async with opened(path, zygote) as world:
            runtime = await world.runtime()
            try:
                out = Reader(world.fifo())
                script = "trap 'echo bye; exit 5' TERM; while true; do sleep 0.02; done"
                options = world.options("/bin/sh", "-c", script, stdio=Stdio(stdout=out.path))
                task = await runtime.create(NAMESPACE, "old", options)
                waiting = await runtime.create(NAMESPACE, "waiting", world.options("/bin/sh", "-c", "exit 3"))
                await task.start()
                _replace(site)
                with pytest.raises(CortenError, match="a file of the new version"):
                    zygote.start("corten.filters:nothing", b"").result(10)
                await _everything(world, task)
                await task.kill(15)
                assert (await task.wait()).status == 5
                assert await out.end() == b"bye\n"
                await task.delete()
                await waiting.start()
                assert (await waiting.wait()).status == 3
                await waiting.delete()
                await world.left_nothing()
            finally:
                await clear(runtime)
                await runtime.close()


async def _everything(world: World, task: Any) -> None:
    """Every call that a running task takes."""
    await task.exec("e", process(["/bin/sh", "-c", "exit 7"]), Stdio())
    await task.start("e")
    assert (await task.wait("e")).status == 7
    await task.delete("e")
    shown = Reader(world.fifo())
    await task.exec("t", process(["/bin/echo", "x"], terminal=True), Stdio(stdout=shown.path, terminal=True))
    await task.start("t")
    await task.resize_pty(80, 25, "t")
    assert await shown.end() == b"x\r\n"
    await task.wait("t")
    await task.delete("t")
    await task.pause()
    assert (await task.state()).status == Status.PAUSED
    await task.resume()
    resources = AnyValue("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", b'{"cpu":{"shares":512}}')
    await task.update(resources, {})
    assert task.pid in [pid for pid, _ in await task.pids()]
    assert (await task.stats()).value
    with pytest.raises(FailedPrecondition):
        await task.start()


class OldShim:
    """Answers with the frames that a shim of an earlier version has answered with, and keeps what it was asked."""

    def __init__(self, recorded: list[dict[str, str]]) -> None:
        self._left = list(recorded)
        self.asked: list[tuple[str, str, str]] = []

    @asynccontextmanager
    async def serving(self, path: str) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            server.close()
            Path(path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.Decoder()
        while data := await reader.read(65536):
            for frame in decoder.feed(data):
                assert isinstance(frame, frames.Frame)
                request = request_pb2.Request.FromString(frame.data)
                self.asked.append((request.service, request.method, request.payload.hex()))
                response = request_pb2.Response(payload=bytes.fromhex(self._answer(request.method)))
                writer.write(frames.encode(frame.stream, frames.RESPONSE, response.SerializeToString()))
        writer.close()

    def _answer(self, method: str) -> str:
        call = next(call for call in self._left if call["method"] == method)
        self._left.remove(call)
        return bytes.fromhex(call["response"])[_payload(call["response"]) :].hex()


def _payload(response: str) -> int:
    """Where the payload begins in a recorded Response, which has nothing else: after a tag and a length."""
    parsed = request_pb2.Response.FromString(bytes.fromhex(response))
    return len(response) // 2 - len(parsed.payload)


async def test_a_shim_of_the_previous_protocol_is_adopted_execed_into_and_deleted(world: World) -> None:
    """`data/corten-1.json` was recorded from a daemon and a shim of version corten/1 (commit f3ac672)."""
    recorded = json.loads((DATA / "corten-1.json").read_text())
    bundle, socket = world.tasks / "kept", f"{world.folder}/old"
    bundle.mkdir(parents=True)
    record = recorded["bootstrap"]
    record["address"] = f"unix://{socket}"
    record["corten"] |= {"boot_id": bundles.boot_id(), "runc_root": str(world.folder / "runc")}
    bundles.write_bootstrap(bundle, record)
    (bundle / "facts.json").write_text(json.dumps(recorded["facts"]))
    shim = OldShim(recorded["calls"])
    async with shim.serving(socket):
        runtime = await world.runtime()
        task = await runtime.get(NAMESPACE, "kept")
        assert (await task.state()).status == Status.RUNNING
        await task.exec("e", process(["/bin/sh", "-c", "exit 7"]), Stdio())
        await task.start("e")
        assert (await task.wait("e")).status == 7
        assert (await task.delete("e")).status == 7
        assert (await task.stats()).value
        await task.pause()
        await task.resume()
        await task.kill(9)
        assert (await task.wait()).status == 137
        assert (await task.delete()).status == 137
        await eventually(lambda: not bundle.exists())
        await runtime.close()
    assert shim.asked == [(call["service"], call["method"], call["request"]) for call in recorded["calls"]]
    assert not os.path.exists(socket)
