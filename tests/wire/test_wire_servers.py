"""The server plugins as the kernel starts them: defaults, health, TCP with certificates, and containerd's own `ctr`."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corten.api.services.version.v1 import version_pb2
from corten.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from corten.plugin.model import PluginContext, PluginView, Registration, SkipPlugin, State
from corten.plugin.types import GRPC, TTRPC
from corten.testing.context import FakeContext
from corten.wire.channel import Channel, ClientTls
from corten.wire.health import DESCRIPTOR, Health
from corten.wire.limits import GrpcConfig, GrpcTcpConfig, TtrpcConfig
from corten.wire.registration import plugins
from corten.wire.service import CallContext, Service, cancellable
from corten.wire.ttrpc.client import TtrpcClient
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2
from wire.support import SERVICE, Echo, View, rpc, text, view

BY_URI = {registration.uri: registration for registration in plugins()}
HEALTH = DESCRIPTOR.methods_by_name


class Version:
    """As much of a daemon as `ctr version` asks for."""

    @property
    def services(self) -> tuple[Service, ...]:
        return (Service(version_pb2.DESCRIPTOR.services_by_name["Version"], self),)

    @cancellable
    async def version(self, request: Empty, call: CallContext) -> version_pb2.VersionResponse:
        return version_pb2.VersionResponse(version="2.4.0", revision="corten-test")


async def _up() -> None:
    """The daemon has started."""


@asynccontextmanager
async def started(tmp_path: Path, id: str, config: object, plugins: dict[str, PluginView] | None = None) -> Any:
    """The server plugin `id`, started by hand."""
    registration = BY_URI[f"io.containerd.server.v1.{id}"]
    instances: dict[Any, object] = {
        (GRPC, "echo"): Echo(),
        (GRPC, "version"): Version(),
        (GRPC, "healthcheck"): Health(plugins or {}, _up),
        (TTRPC, "echo"): Echo(),
    }
    known = {**FakeContext(tmp_path, tmp_path, instances=instances).plugins, **(plugins or {})}
    context = FakeContext(
        tmp_path / "root", tmp_path / "state", config=config, instances=instances,
        plugins=known, registration=registration, grpc_address=str(tmp_path / "c.sock"),
    )  # fmt: skip
    _ = context.supervisor
    server: Any = await asyncio.to_thread(registration.init, context)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
        await context.close()


def test_the_plugins_are_containerds() -> None:
    assert list(BY_URI) == [
        "io.containerd.grpc.v1.healthcheck",
        "io.containerd.metrics.v1.grpc-prometheus",
        "io.containerd.server.v1.grpc",
        "io.containerd.server.v1.grpc-tcp",
        "io.containerd.server.v1.ttrpc",
    ]
    assert GrpcConfig().max_recv_message_size == GrpcConfig().max_send_message_size == 16 << 20


async def test_servers_use_the_daemons_addresses(tmp_path: Path) -> None:
    async with started(tmp_path, "grpc", GrpcConfig()), started(tmp_path, "ttrpc", TtrpcConfig()):
        async with Channel(str(tmp_path / "c.sock")) as channel:
            assert await channel.unary(rpc("Say"), text("x")) == text("x")
        client = await TtrpcClient.connect(str(tmp_path / "c.sock.ttrpc"))
        assert await client.call(SERVICE, "Say", text("x"), StringValue) == text("x")
        await client.close()


async def test_addresses_in_the_config_win(tmp_path: Path) -> None:
    other = tmp_path / "other.sock"
    async with started(tmp_path, "grpc", GrpcConfig(address=str(other))), Channel(str(other)) as channel:
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
    assert not (tmp_path / "c.sock").exists()


async def test_zero_sizes_mean_the_default(tmp_path: Path) -> None:
    config = GrpcConfig(max_recv_message_size=0, max_send_message_size=0)
    async with started(tmp_path, "grpc", config), Channel(str(tmp_path / "c.sock")) as channel:
        assert len((await channel.unary(rpc("Say"), text("x" * 8_000_000))).value) == 8_000_000


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("ctr"), reason="needs containerd's ctr")
async def test_ctr_of_containerd_connects(tmp_path: Path) -> None:
    failed = view(
        "containers", State.ERROR, "containerd.services.containers.v1.Containers", error=ValueError("tape is torn")
    )
    async with started(tmp_path, "grpc", GrpcConfig(), failed):
        version = await _ctr(tmp_path, "version")  # fails in the end: it wants the introspection service too
        assert "2.4.0" in version.stdout
        assert "corten-test" in version.stdout
        containers = await _ctr(tmp_path, "containers", "ls")
        assert containers.returncode != 0
        assert "tape is torn" in containers.stderr
        assert "io.containerd.grpc.v1.containers" in containers.stderr
        assert "unknown service" in (await _ctr(tmp_path, "snapshots", "ls")).stderr


async def _ctr(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    run = ["ctr", "--address", str(tmp_path / "c.sock"), *arguments]
    return await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=30)


async def test_health_of_the_daemon_and_of_each_service(tmp_path: Path) -> None:
    good = Registration(type=GRPC, id="echo", init=lambda _: None)
    known: dict[str, PluginView] = {
        **view("tape", State.ERROR, "tape.v1.Tape"),
        good.uri: View(good, State.OK, instance=Echo()),
    }
    async with started(tmp_path, "grpc", GrpcConfig(), known), Channel(str(tmp_path / "c.sock")) as channel:

        async def check(service: str) -> int:
            reply = await channel.unary(HEALTH["Check"], health_pb2.HealthCheckRequest(service=service))
            return int(reply.status)

        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        assert await check("") == serving
        assert await check(SERVICE) == serving
        assert await check("tape.v1.Tape") == not_serving
        with pytest.raises(NotFound, match="nobody"):
            await check("nobody.v1.Nobody")
        told = (await channel.unary(HEALTH["List"], health_pb2.HealthListRequest())).statuses
        assert {name: each.status for name, each in told.items()} == {
            "": serving,
            SERVICE: serving,
            "tape.v1.Tape": not_serving,
        }
        watch: AsyncIterator[Any] = channel.server_stream(HEALTH["Watch"], health_pb2.HealthCheckRequest(service="x"))
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_health_watch_ends_with_the_daemon(tmp_path: Path) -> None:
    async with started(tmp_path, "grpc", GrpcConfig(stop_grace=30)) as server:
        channel = Channel(str(tmp_path / "c.sock"))
        watch = channel.server_stream(HEALTH["Watch"], health_pb2.HealthCheckRequest())
        await anext(watch)
        await asyncio.wait_for(server.close(), 10)
        with pytest.raises(Unavailable):
            await anext(watch)
        await channel.close()


@dataclass(frozen=True)
class Certificates:
    """A throwaway authority, a pair for the server, and one for each of two clients."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def tls(self, client: str | None) -> ClientTls:
        ca = self.path("ca.pem").read_bytes()
        if client is None:
            return ClientTls(ca, server_name="localhost")
        cert, key = (self.path(f"{client}.{kind}").read_bytes() for kind in ("pem", "key"))
        return ClientTls(ca, cert, key, server_name="localhost")

    def config(self, common_name: str = "") -> GrpcTcpConfig:
        return GrpcTcpConfig(
            address="127.0.0.1:0", tls_ca=self.path("ca.pem"), tls_cert=self.path("localhost.pem"),
            tls_key=self.path("localhost.key"), tls_common_name=common_name,
        )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
    for name in ("localhost", "alice", "bob"):
        (folder / "ext").write_text(f"subjectAltName=DNS:{name}")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")  # fmt: skip
    return Certificates(folder)


async def test_tcp_asks_for_a_certificate_of_its_authority(tmp_path: Path, certificates: Certificates) -> None:
    async with started(tmp_path, "grpc-tcp", certificates.config()) as server:
        address = f"tcp://{server.listener}"
        async with Channel(address, tls=certificates.tls("alice")) as channel:
            assert await channel.unary(rpc("Say"), text("x")) == text("x")
        for client in (certificates.tls(None), None):
            async with Channel(address, tls=client) as channel:
                with pytest.raises(Unavailable):
                    await channel.unary(rpc("Say"), text("x"), timeout=5)


async def test_tcp_takes_only_the_common_name_of_the_config(tmp_path: Path, certificates: Certificates) -> None:
    async with started(tmp_path, "grpc-tcp", certificates.config("alice")) as server:
        async with Channel(f"tcp://{server.listener}", tls=certificates.tls("alice")) as channel:
            assert await channel.unary(rpc("Say"), text("x")) == text("x")
        async with Channel(f"tcp://{server.listener}", tls=certificates.tls("bob")) as channel:
            with pytest.raises(PermissionDenied, match="bob, not for alice"):
                await channel.unary(rpc("Say"), text("x"))


async def test_a_port_that_is_taken_is_told_in_the_kernels_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FailedPrecondition, match=rf"^address {address}: cannot listen: Address already in use \("):
            async with started(tmp_path, "grpc-tcp", GrpcTcpConfig(address=address)):
                pass


async def test_plain_tcp_is_for_loopback_only(tmp_path: Path) -> None:
    async with started(tmp_path, "grpc-tcp", GrpcTcpConfig(address="127.0.0.1:0")) as server:
        channel = Channel(str(server.listener))
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
        await channel.close()
    with pytest.raises(InvalidArgument, match="needs certificates"):
        async with started(tmp_path, "grpc-tcp", GrpcTcpConfig(address="0.0.0.0:0")):
            pass


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (GrpcTcpConfig(address="127.0.0.1:0", tls_cert=Path("x")), "set together"),
        (GrpcTcpConfig(address="127.0.0.1:0", tls_common_name="x"), "needs tls_ca"),
        (GrpcTcpConfig(address="/run/x.sock"), "not host:port"),
    ],
)
async def test_wrong_tcp_settings_are_refused(tmp_path: Path, config: GrpcTcpConfig, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        async with started(tmp_path, "grpc-tcp", config):
            pass


async def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    config = GrpcTcpConfig(address="127.0.0.1:0", tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")
    with pytest.raises(NotFound, match=r"no\.key"):
        async with started(tmp_path, "grpc-tcp", config):
            pass


def test_tcp_is_skipped_without_an_address(tmp_path: Path) -> None:
    context: PluginContext = FakeContext(tmp_path / "root", tmp_path / "state")
    with pytest.raises(SkipPlugin):
        BY_URI["io.containerd.server.v1.grpc-tcp"].init(context)


def test_a_provider_that_cannot_name_its_services_harms_nobody() -> None:
    from corten.wire.catalogue import Catalogue

    class Broken:
        @property
        def services(self) -> Any:
            raise RuntimeError("no services today")

    catalogue = Catalogue({"a": Broken(), "b": Version(), "c": Version()})
    assert catalogue.services == ["containerd.services.version.v1.Version"]
