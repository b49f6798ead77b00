"""How shim binaries are started and spoken to: frames put together by hand from the tables of the wire, no library."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import ShimEndpoint
from corten.errors import CortenError, InvalidArgument, NotFound, Unavailable, Unimplemented
from corten.testing import processes
from corten.testing.runtime import SUITE
from corten_runtimes import bootstrap
from corten_runtimes.binary import BinaryShim
from corten_runtimes.config import BinaryConfig
from runtimes.conftest import over
from runtimes.hand_streams import field
from runtimes.world import NAMESPACE, World, eventually

SHIM24 = os.environ.get("CORTEN_SHIM24", "")


def test_what_a_shim_reads() -> None:
    options = AnyValue("containerd.runc.v1.Options", b"\x08\x01")
    told = bootstrap.params(
        id="one", namespace="two", grpc_address="/g", ttrpc_address="/t", binary="/bin/cortend", version="v2.4.0",
        socket_dir="/run/s", debug=True, options=options,
    )  # fmt: skip
    extension = field(1, field(1, b"containerd.runc.v1.Options") + field(2, b"\x08\x01"))
    assert told == (
        field(1, b"one") + field(2, b"two") + field(3, (1 << 64) - 4) + field(4, b"v2.4.0") + field(5, b"/t")
        + field(6, b"/g") + field(7, b"/bin/cortend") + field(8, extension) + field(9, b"/run/s")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"unix:///run/s/1\n", ShimEndpoint("unix:///run/s/1", 2)),
        (b"/run/s/1", ShimEndpoint("/run/s/1", 2)),
        (
            b'{"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"}\n',
            ShimEndpoint("unix:///run/s/1", 3),
        ),
        (b'{"version":2,"address":"unix:///run/s/1"}', ShimEndpoint("unix:///run/s/1", 2)),
        (
            field(1, 3) + field(2, b"unix:///run/s/1") + field(3, b"ttrpc"),
            ShimEndpoint("unix:///run/s/1", 3),
        ),
        (
            field(1, 3) + field(2, b"unix:///run/s/1") + field(3, b"GRPC") + field(4, b"\0") + field(99, b"later"),
            ShimEndpoint("unix:///run/s/1", 3, "grpc"),
        ),
    ],
)
def test_what_a_shim_prints(output: bytes, expected: ShimEndpoint) -> None:
    assert bootstrap.endpoint("s", output) == expected


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (b"", InvalidArgument),
        (b"{}", InvalidArgument),
        (b"{", InvalidArgument),
        (b"hello", InvalidArgument),
        (b"\xff\xff", InvalidArgument),
        (b'{"version":4,"address":"unix:///x","protocol":"ttrpc"}', Unimplemented),
        (b'{"version":3,"address":"unix:///x","protocol":"http"}', Unimplemented),
        (b'{"version":3,"address":"vsock://3:1","protocol":"grpc"}', Unimplemented),
        (b'{"version":3,"address":"vsock://x:1","protocol":"ttrpc"}', InvalidArgument),
        (b'{"version":3,"address":"hvsock:///x","protocol":"ttrpc"}', InvalidArgument),
        (b'{"version":3,"address":"vsock://3:4294967296","protocol":"ttrpc"}', InvalidArgument),
        (field(1, 4) + field(2, b"unix:///x") + field(3, b"ttrpc"), Unimplemented),
    ],
)
def test_what_a_shim_must_not_print(output: bytes, kind: type[CortenError]) -> None:
    with pytest.raises(kind, match="shim s"):
        bootstrap.endpoint("s", output)


@pytest.mark.parametrize("config", [BinaryConfig(env=("NAME",)), BinaryConfig(socket_dir="run/s")])
def test_settings_that_cannot_be(config: BinaryConfig) -> None:
    with pytest.raises(InvalidArgument):
        BinaryShim(Any, Any, "/g", "/t", config)  # type: ignore[arg-type]


def fake_shim(world: World, answer: bytes) -> str:
    """A shim that writes down how it was called, and prints this; the server is somebody else's."""
    path = world.folder / "containerd-shim-hand-v2"
    (world.folder / "answer").write_bytes(answer)
    path.write_text(
        f"#!{shutil.which('sh')}\nfor action; do :; done\ncd {world.folder}\n"
        'pwd -P > "$action.cwd"; echo "$@" > "$action.flags"; env > "$action.env"; cat > "$action.stdin"\n'
        '[ "$action" != start ] || cat answer\n'
    )
    path.chmod(0o755)
    return str(path)


def CANCELLING(_: bytes) -> bytes:  # noqa: N802  a value among answers
    """What a server that stops gives for calls under way."""
    raise AssertionError


@asynccontextmanager
async def grpc_shim(path: str, answers: dict[str, Callable[[bytes], bytes]]) -> AsyncIterator[list[tuple[str, bytes]]]:
    """A gRPC server of bytes: what it was asked, in order."""
    asked: list[tuple[str, bytes]] = []

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                asked.append((details.method, request))
                found = answers.get(details.method)
                if found is None:
                    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing here")
                    raise AssertionError
                if found is CANCELLING:
                    await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
                return found(request)

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield asked
    finally:
        await server.stop(0)


@pytest.mark.integration
async def test_a_shim_that_speaks_grpc_and_task_v3(world: World) -> None:
    socket = f"{world.folder}/grpc.sock"
    answer = field(1, 3) + field(2, f"unix://{socket}".encode()) + field(3, b"grpc")
    world.binary = BinaryConfig(env=("GREETING=hello world",), socket_dir="/run/hand")
    v3 = "/containerd.task.v3.Task/"
    answers = {
        f"{v3}Create": lambda _: field(1, 4242),
        f"{v3}Start": lambda _: field(1, 4242),
        f"{v3}Connect": lambda _: field(1, 99) + field(2, 4242) + field(3, b"hand/1"),
        f"{v3}State": lambda _: field(1, b"t") + field(3, 4242) + field(4, 2),
        f"{v3}Wait": lambda _: field(1, 7) + field(2, field(1, 1_700_000_000)),
        f"{v3}Delete": lambda _: field(1, 4242) + field(2, 7) + field(3, field(1, 1_700_000_000)),
        f"{v3}Shutdown": lambda _: b"",
    }
    async with grpc_shim(socket, answers) as asked:
        runtime = await world.runtime()
        try:
            options = replace(world.options("/bin/true"), rootfs=(), runtime=RuntimeInfo(fake_shim(world, answer)))
            options = replace(options, runtime=RuntimeInfo(options.runtime.name, AnyValue("my.Options", b"\x08\x05")))
            task = await runtime.create(NAMESPACE, "t", options)
            assert task.pid == 4242
            bundle = world.tasks / "t"
            assert asked[0][0] == f"{v3}Create"
            assert asked[0][1].startswith(field(1, b"t") + field(2, str(bundle).encode()))
            assert field(10, field(1, b"my.Options") + field(2, b"\x08\x05")) in asked[0][1]
            assert await task.start() == 4242
            assert (await task.state()).status == "running"
            with pytest.raises(NotFound, match="no such thing"):
                await task.pause()
            record = json.loads((bundle / "bootstrap.json").read_text())
            assert (record["version"], record["protocol"]) == (3, "grpc")
            await runtime.close()

            runtime = await world.runtime()
            task = await runtime.get(NAMESPACE, "t")
            assert task.pid == 4242
            assert (await task.wait()).status == 7
            ended = await task.delete()
            assert (ended.status, ended.exited_at) == (7, 1_700_000_000 * 10**9)
            assert (f"{v3}Shutdown", field(1, b"t")) in asked
            with pytest.raises(NotFound):
                await runtime.get(NAMESPACE, "t")
        finally:
            await runtime.close()
    stdin = (world.folder / "start.stdin").read_bytes()
    assert stdin.startswith(field(1, b"t") + field(2, NAMESPACE.encode()))
    assert field(8, field(1, field(1, b"my.Options") + field(2, b"\x08\x05"))) in stdin
    assert stdin.endswith(field(9, b"/run/hand"))
    flags = (world.folder / "start.flags").read_text().split()
    assert flags[:4] == ["-namespace", NAMESPACE, "-address", str(world.folder / "e")]
    assert flags[-3:] == ["-id", "t", "start"]
    environ = (world.folder / "start.env").read_text().splitlines()
    assert {"GREETING=hello world", f"TTRPC_ADDRESS={world.events.path}", f"NAMESPACE={NAMESPACE}"} <= set(environ)


@pytest.mark.integration
@pytest.mark.parametrize("cancelled", [False, True], ids=["refused", "cancelled"])
async def test_a_grpc_shim_that_goes_away_is_lost(world: World, cancelled: bool) -> None:
    """Whatever becomes of the Wait that is under way."""
    socket = f"{world.folder}/grpc.sock"
    answer = json.dumps({"version": 3, "address": f"unix://{socket}", "protocol": "grpc"}).encode()
    answers = {"/containerd.task.v3.Task/Create": lambda _: field(1, 4242)}
    answers |= {"/containerd.task.v3.Task/Wait": CANCELLING} if cancelled else {}
    runtime = await world.runtime()
    try:
        async with grpc_shim(socket, answers) as asked:
            options = replace(world.options("/bin/true"), rootfs=(), runtime=RuntimeInfo(fake_shim(world, answer)))
            task = await runtime.create(NAMESPACE, "t", options)
            waiting = asyncio.ensure_future(task.wait())
            await eventually(lambda: asked[-1][0].endswith("/Wait"))
        assert (await asyncio.wait_for(waiting, 30)).status == 137
        with pytest.raises((NotFound, Unavailable)):
            await task.state()
        assert (world.folder / "delete.flags").read_text().split()[-1] == "delete"
        await eventually(lambda: not (world.tasks / "t").exists())
    finally:
        await runtime.close()


@pytest.mark.integration
async def test_a_shim_of_the_first_version_reads_its_options_alone(world: World) -> None:
    path = Path(fake_shim(world, b"nothing of use"))
    old = path.rename(path.with_name("containerd-shim-runhcs-v1"))
    runtime = await world.runtime()
    options = RuntimeInfo(str(old), AnyValue("my.Options", b"\x08\x05"))
    try:
        with pytest.raises(InvalidArgument, match="nothing of use"):
            await runtime.create(NAMESPACE, "t", replace(world.options("/bin/true"), runtime=options))
    finally:
        await runtime.close()
    assert (world.folder / "start.stdin").read_bytes() == field(1, b"my.Options") + field(2, b"\x08\x05")


@pytest.mark.integration
@pytest.mark.skipif(
    not SHIM24, reason="CORTEN_SHIM24 does not name a containerd-shim-runc-v2 of containerd 2.3 or later"
)
@pytest.mark.parametrize("check", [*SUITE, *processes.SUITE], ids=lambda check: check.__name__)
async def test_a_shim_of_containerd_2_4(check: Callable[..., Any], world: World) -> None:
    root = oci_pb2.Options(root=str(world.folder / "runc"))
    world.binary = BinaryConfig(socket_dir=str(world.folder))
    info = RuntimeInfo(SHIM24, AnyValue("containerd.runc.v1.Options", root.SerializeToString()))
    runtime = await world.runtime()
    try:
        folder = world.folder / "streams"
        folder.mkdir()
        rest = (folder,) if check in processes.SUITE else ()
        await check(runtime, lambda args: replace(world.options(*args), runtime=info), *rest)
        await world.left_nothing()
    finally:
        await over(world, runtime)
