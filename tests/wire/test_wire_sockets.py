"""Sockets: who may connect, what is never bound over or removed, and what a client is told that cannot connect."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from corten.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from corten.wire.address import MAX_PATH, Address, parse
from corten.wire.channel import Channel
from corten.wire.unix import Owner, PlacedSocket
from wire.support import Echo, grpc_pair, grpc_server, rpc, text, ttrpc_server

ROOT = os.geteuid() == 0


@pytest.fixture
def sock(tmp_path: Path) -> Path:
    return tmp_path / "run" / "c.sock"


def dead_socket(path: Path) -> None:
    """What a daemon leaves that was killed."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


async def test_socket_has_its_mode_from_the_start_and_leaves_nothing(sock: Path) -> None:
    async with grpc_server(sock, Echo()):
        assert stat.S_IMODE(sock.stat().st_mode) == 0o660
        assert os.listdir(sock.parent) == ["c.sock"]
    assert os.listdir(sock.parent) == []


@pytest.mark.skipif(not ROOT, reason="only root gives sockets away")
async def test_owner_and_group_come_from_the_config(sock: Path) -> None:
    async with grpc_pair(sock, Echo(), owner=Owner(uid=1234, gid=4321)) as channel:
        found = sock.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o660)
        assert await channel.unary(rpc("Say"), text("x")) == text("x")


async def test_socket_of_a_dead_daemon_is_replaced(sock: Path) -> None:
    dead_socket(sock)
    async with grpc_pair(sock, Echo()) as channel:
        assert await channel.unary(rpc("Say"), text("x")) == text("x")


async def test_leftovers_of_a_start_that_was_killed_do_not_matter(sock: Path) -> None:
    sock.parent.mkdir()
    dead_socket(sock.parent / ".c.sock.new" / "s")
    async with grpc_pair(sock, Echo()) as channel:
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
    assert os.listdir(sock.parent) == []


@pytest.mark.parametrize("server", [grpc_server, ttrpc_server])
async def test_socket_of_a_living_server_is_refused(sock: Path, server: object) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        with pytest.raises(FailedPrecondition, match=f"process {os.getpid()} .* serves it"):
            async with server(sock, Echo()):  # type: ignore[operator]
                pass
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
        assert os.listdir(sock.parent) == ["c.sock"]


async def test_what_is_no_socket_is_left_alone(sock: Path) -> None:
    sock.parent.mkdir()
    sock.write_text("precious")
    with pytest.raises(FailedPrecondition, match="something else is there"):
        async with grpc_server(sock, Echo()):
            pass
    assert sock.read_text() == "precious"


@pytest.mark.parametrize("server", [grpc_server, ttrpc_server])
async def test_stopping_never_removes_the_socket_of_another(sock: Path, server: object) -> None:
    async with server(sock, Echo()):  # type: ignore[operator]
        sock.unlink()
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(sock))
        other.listen()
        inode = sock.stat().st_ino
    assert sock.stat().st_ino == inode
    other.close()


async def test_long_paths_work_up_to_the_kernels_bound(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    longest = folder / ("s" * (MAX_PATH - len(str(folder)) - 1))
    async with grpc_pair(longest, Echo()) as channel:
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
    deep = tmp_path / ("d" * (MAX_PATH - len(str(tmp_path)) - 3)) / "s"
    assert len(str(deep)) == MAX_PATH
    async with grpc_pair(deep, Echo()) as channel:
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
    with pytest.raises(InvalidArgument, match="108 bytes, the kernel takes 107"):
        PlacedSocket(f"{longest}s")


async def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match="cannot make its directory"):
        async with grpc_server(tmp_path / "file" / "c.sock", Echo()):
            pass


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("/run/c.sock", Address(path="/run/c.sock")),
        ("unix:///run/c.sock", Address(path="/run/c.sock")),
        ("unix:/run/../c.sock", Address(path="/c.sock")),
        ("tcp://127.0.0.1:80", Address(endpoint="127.0.0.1:80")),
        ("host:80", Address(endpoint="host:80")),
        ("[::1]:80", Address(endpoint="[::1]:80")),
    ],
)
def test_addresses_are_read_as_people_write_them(given: str, address: Address) -> None:
    assert parse(given) == address


@pytest.mark.parametrize(
    "given", ["", "@abstract", "unix:@abstract", "host", "host:port", "host:99999", "/" + "x" * 200]
)
def test_wrong_addresses_are_refused(given: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(given)


async def test_client_without_a_server_is_told_what_to_do(sock: Path) -> None:
    async with Channel(str(sock)) as channel:
        with pytest.raises(Unavailable, match=f"{sock}: it does not exist .is cortend running"):
            await channel.unary(rpc("Say"), text("x"))
        with pytest.raises(Unavailable, match="it does not exist"):
            await anext(channel.server_stream(rpc("Count"), text("1")))
        with pytest.raises(Unavailable, match="it does not exist"):
            await channel.ready(0.1)
    dead_socket(sock)
    async with Channel(str(sock)) as channel:
        with pytest.raises(Unavailable, match=r"nobody listens on it \(is cortend running"):
            await channel.unary(rpc("Say"), text("x"))


async def test_client_finds_the_server_once_it_is_there(sock: Path) -> None:
    async with Channel(str(sock)) as channel:
        with pytest.raises(Unavailable):
            await channel.unary(rpc("Say"), text("x"))
        async with grpc_server(sock, Echo()):
            await channel.ready(5)
            assert await channel.unary(rpc("Say"), text("x")) == text("x")


@pytest.mark.skipif(not ROOT, reason="needs another user")
async def test_client_that_may_not_connect_is_told_so(sock: Path) -> None:
    code = (
        "import asyncio, os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from corten.wire.channel import Channel\n"
        "from wire.support import rpc, text\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "async def main():\n"
        "    async with Channel(sys.argv[1]) as channel:\n"
        "        await channel.unary(rpc('Say'), text('x'))\n"
        "asyncio.run(main())\n"
    )
    for folder in (sock.parent.parent, *list(sock.parent.parent.parents)[:2]):
        folder.chmod(0o711)
    async with grpc_server(sock, Echo()):
        run = [sys.executable, "-c", code, str(sock), *sys.path]
        done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=30)
    assert f"{PermissionDenied.__name__}: socket {sock}: permission denied" in done.stderr
