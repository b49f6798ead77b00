"""Image verifiers are asked on every way in, and what cannot be asked refuses."""

import asyncio
import base64
import io
import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from corten.api.types.transfer.imagestore_pb2 import ImageReference, ImageStore
from corten.api.types.transfer.importexport_pb2 import ImageImportStream
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.byte_streams import send_file
from corten.client.client import Client
from corten.errors import FailedPrecondition, PermissionDenied
from corten.registry.credentials import Credentials
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
MEDIA_TYPE = "application/vnd.oci.descriptor.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verifiers") / "bin"


@pytest.fixture(scope="module")
def daemon(programs: Path) -> Iterator[Daemon]:
    settings = {"bin_dir": str(programs), "max_verifiers": 2, "per_verifier_timeout": "5s", "pass_credentials": True}
    plugins = {"io.containerd.image-verifier.v1.bindir": settings}
    with running_daemon(config=json.dumps({"version": 4, "plugins": plugins})) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(programs: Path) -> Iterator[None]:
    programs.mkdir(exist_ok=True)
    yield
    for program in programs.iterdir():
        program.unlink()
    programs.rmdir()


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(0o755)


async def pulled(client: Client, name: str, stream: str = "") -> None:
    resolver = RegistryResolver(default_scheme="http", auth_stream=stream)
    await client.transfers.run(OCIRegistry(reference=name, resolver=resolver), ImageStore(name=name))


async def nothing_there(client: Client) -> bool:
    leases = await client.leases.list()
    return not (await client.images.list() or leases or await client.content.statuses())


async def test_what_a_program_is_told_and_may_read(
    daemon: Daemon, registry: str, programs: Path, tmp_path: Path
) -> None:
    name, seen = f"{registry}/lib/five:v1", tmp_path / "seen"
    take = f'read -r line; echo "$line" > {seen}.in; cp $DOCKER_CONFIG/config.json {seen}.auth'
    program(programs, "one", f'set -e; echo "$@" > {seen}; {take}; echo fine')
    async with Client(daemon.address, "told") as client:
        async with client.transfers.credentials(lambda _: Credentials("ann", "secret")) as stream:
            await pulled(client, name, stream)
        target = (await client.images.get(name)).target
    assert seen.read_text().split() == ["-name", name, "-digest", target.digest, "-stdin-media-type", MEDIA_TYPE]
    described = json.loads(Path(f"{seen}.in").read_text())
    assert described == {"mediaType": target.media_type, "digest": target.digest, "size": target.size}
    auths = json.loads(Path(f"{seen}.auth").read_text())["auths"]
    assert base64.b64decode(auths[registry]["auth"]) == b"ann:secret"
    assert list((daemon.state / "io.containerd.image-verifier.v1.bindir").iterdir()) == [], "the credentials are gone"


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("echo unsigned; exit 3", PermissionDenied, r"'bindir' refuses it: two \(exit code 3\): unsigned"),
        ("kill -9 $$", FailedPrecondition, "ended by signal 9"),
        ("sleep 60 & exec sleep 60", FailedPrecondition, "longer than 5 s"),
        ("sleep 61 >/dev/null 2>&1 & exit 4", PermissionDenied, "exit code 4"),
        ("head -c 100000 /dev/zero | tr '\\0' x; exit 1", PermissionDenied, r"x \(cut off\)"),
    ],
)
async def test_who_does_not_allow_refuses(
    daemon: Daemon, registry: str, programs: Path, script: str, error: type[Exception], says: str
) -> None:
    program(programs, "one", "exit 0")
    program(programs, "two", script)
    async with Client(daemon.address, "refused") as client:
        with pytest.raises(error, match=says):
            await pulled(client, f"{registry}/lib/five:v1")
        assert await nothing_there(client)
    # SIGKILL was sent before the answer; the kernel may still be at it.
    peers.wait_until(lambda: not [pid for n in (60, 61) for pid in peers.processes_with(f"sleep {n} ")], "sleep goes")


async def test_what_cannot_be_asked_refuses(daemon: Daemon, registry: str, programs: Path) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "broken") as client:
        (programs / "no-program").write_text("text")
        with pytest.raises(FailedPrecondition, match="cannot run it"):
            await pulled(client, name)
        for each in ("a", "b", "c"):
            program(programs, each, "exit 0")
        with pytest.raises(FailedPrecondition, match="max_verifiers = 2"):
            await pulled(client, name)
        assert await nothing_there(client)


async def test_no_programs_allow_everything(daemon: Daemon, registry: str) -> None:
    async with Client(daemon.address, "none") as client:
        await pulled(client, f"{registry}/lib/five:v1")


async def test_imports_are_verified_too(daemon: Daemon, programs: Path, tmp_path: Path) -> None:
    layout = images.write_layout(tmp_path / "layout")
    argv = ["skopeo", "copy", "-q", f"oci:{layout}:latest", f"oci-archive:{tmp_path}/five.tar:latest"]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    data = (tmp_path / "five.tar").read_bytes()
    program(programs, "one", '[ "$2" = good.example/five:latest ] || { echo "not $2"; exit 1; }')
    async with Client(daemon.address, "import") as client:
        with pytest.raises(PermissionDenied, match=r"not bad\.example/five:latest"):
            await taken_in(client, data, "bad.example/five")
        assert await nothing_there(client)
        await taken_in(client, data, "good.example/five")
        assert [image.name for image in await client.images.list()] == ["good.example/five:latest"]


async def taken_in(client: Client, data: bytes, prefix: str) -> None:
    store = ImageStore(extra_references=[ImageReference(name=prefix, is_prefix=True)])
    async with client.transfers.opened("import") as stream:
        sending = asyncio.create_task(send_file(stream, io.BytesIO(data)))
        try:
            await client.transfers.run(ImageImportStream(stream=stream.id), store)
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def test_a_verifier_that_did_not_start_lets_nothing_in(registry: str, tmp_path: Path) -> None:
    plugins = {"io.containerd.image-verifier.v1.bindir": {"bin_dir": str(tmp_path)}}
    config = {"version": 4, "plugins": plugins}
    broken = tmp_path / "package"
    (broken / "corten_broken").mkdir(parents=True)
    (broken / "corten_broken" / "__init__.py").write_text(
        "from corten.plugin.model import Registration\n"
        "from corten.plugin.types import IMAGE_VERIFIER\n"
        "def _init(context): raise RuntimeError('no key')\n"
        "def plugin(): return Registration(type=IMAGE_VERIFIER, id='broken', init=_init, summary='x')\n"
    )
    info = broken / "corten_broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corten-broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[corten.plugins]\nbroken = corten_broken:plugin\n")
    with running_daemon(config=json.dumps(config), env={"PYTHONPATH": str(broken)}) as other:
        async with Client(other.address, "broken") as client:
            with pytest.raises(FailedPrecondition, match=r"'broken' did not start.*no key"):
                await pulled(client, f"{registry}/lib/five:v1")
            assert await nothing_there(client)
