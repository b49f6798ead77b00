"""Mirrors, private authorities, logins and helper programs, with real registries and hostile ones."""

import asyncio
import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import images
import peers
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from corten import references
from corten.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unavailable
from corten.oci_image.model import PulledImage
from corten.platforms import Platform
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials, looked_up
from corten.registry.docker_config import docker_credentials
from corten.registry.pull import pull
from corten.registry.retry import Retry
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
QUICK = Retry(attempts=2, first=0.01, most=0.02)
AMD64 = Platform("linux", "amd64")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[tuple[str, Path]]:
    """A registry on TLS with a private authority, wanting a login; its address and the authority's file."""
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    port = peers.free_port()
    script = 'print "ann:" . crypt("secret", "\\$2y\\$04\\$abcdefghijklmnopqrstuu")'
    (folder / "htpasswd").write_bytes(subprocess.run(["perl", "-e", script], capture_output=True, check=True).stdout)
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}, tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}}}\n"
        f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
        try:
            peers.wait_until(lambda: peers.listening(port), "docker-registry listens")
            argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
            names = [f"docker://{registry}/lib/five:v1", f"docker://127.0.0.1:{port}/lib/five:v1"]
            subprocess.run([*argv, "--dest-creds=ann:secret", *names], check=True)
            yield f"127.0.0.1:{port}", folder / "ca.crt"
        finally:
            peers.stop(process)


def certificates(folder: Path) -> None:
    """A private authority, and a certificate for 127.0.0.1 signed by it."""
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for argv in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=private -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt",
    ):
        openssl(folder, argv)


def hosts(root: Path, host: str, text: str) -> Path:
    """A host directory under `root`; returns the root."""
    (root / host).mkdir(parents=True, exist_ok=True)
    (root / host / "hosts.toml").write_text(text)
    return root


async def pulled(name: str, root: Path, **options: object) -> PulledImage:
    async with RegistryClient(retry=QUICK, host_roots=[root], **options) as client:  # type: ignore[arg-type]
        return await pull(client, references.parse(name), StoreSink(MemoryContent()), AMD64)


@asynccontextmanager
async def server(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    running = TestServer(app)
    await running.start_server()
    try:
        yield f"127.0.0.1:{running.port}"
    finally:
        await running.close()


async def test_a_mirror_gives_what_the_registry_has_not(registry: str, tmp_path: Path) -> None:
    root = hosts(tmp_path, "_default", f'server = "http://127.0.0.1:1"\n[host."http://{registry}"]')
    image = await pulled("unreachable.example/lib/five:v1", root)
    assert (image.name, len(image.layers)) == ("unreachable.example/lib/five:v1", 5)


async def test_a_broken_mirror_is_passed_over_and_told_the_namespace(registry: str, tmp_path: Path) -> None:
    asked: list[web.Request] = []

    async def broken(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response(status=(500, 404, 403)[len(asked) % 3])

    async with server(broken) as mirror:
        text = f'server = "http://{registry}"\n[host."http://{mirror}"]\n[host."http://{mirror}".header]\nx-a = "b"'
        await pulled("r.example/lib/five:v1", hosts(tmp_path, "r.example", text))
    assert {request.query["ns"] for request in asked} == {"r.example"}
    assert {request.headers["x-a"] for request in asked} == {"b"}
    assert len(asked) == 8  # once for each of HEAD, manifest, config and layers: mirrors are not asked again


async def test_a_digest_needs_nobody_to_resolve_it(registry: str, tmp_path: Path) -> None:
    async with RegistryClient() as client:
        digest = (await client.resolve(references.parse(f"{registry}/lib/five:v1"))).digest
    text = f'server = "http://127.0.0.1:1"\n[host."http://{registry}"]\ncapabilities = ["pull"]'
    root = hosts(tmp_path, "r.example", text)
    assert (await pulled(f"r.example/lib/five@{digest}", root)).target.digest == digest
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await pulled("r.example/lib/five:v1", root)


async def test_who_may_not_be_pulled_from_is_not_asked_for_tags(registry: str, tmp_path: Path) -> None:
    text = f'fallback = false\n[host."http://{registry}"]\ncapabilities = ["resolve"]'
    with pytest.raises(NotFound, match="no host with the capability 'pull' and 'resolve'"):
        await pulled("r.example/lib/five:v1", hosts(tmp_path, "r.example", text))


async def test_what_all_hosts_said(registry: str, tmp_path: Path) -> None:
    """An image that is nowhere is not found, whether or not a mirror is down; and the mirror's trouble is told."""
    text = f'server = "http://{registry}"\n[host."http://127.0.0.1:1"]'
    root = hosts(tmp_path, "r.example", text)
    with pytest.raises(NotFound, match=r"not found there.*; cannot reach registry 127\.0\.0\.1:1"):
        await pulled("r.example/lib/nothing:v1", root)

    async def denied(request: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "DENIED", "message": "from this address"}]}, status=403)

    async with server(denied) as mirror:
        hosts(tmp_path, "r.example", f'server = "http://127.0.0.1:1"\n[host."http://{mirror}"]')
        with pytest.raises(PermissionDenied, match=r"denies access \(DENIED: from this address\); cannot reach"):
            await pulled("r.example/lib/five:v1", root)


async def test_without_fallback_the_registry_is_not_asked(registry: str, tmp_path: Path) -> None:
    root = hosts(tmp_path, registry.replace(":", "_") + "_", 'fallback = false\n[host."http://127.0.0.1:1"]')
    with pytest.raises(Unavailable, match=r"cannot reach registry 127\.0\.0\.1:1:"):
        await pulled(f"{registry}/lib/five:v1", root)
    hosts(tmp_path, registry.replace(":", "_") + "_", f'fallback = false\n[host."{registry}"]\ncapabilities = ["push"]')
    with pytest.raises(NotFound, match="no host with the capability 'pull'"):
        await pulled(f"{registry}/lib/five:v1", root)


async def test_a_private_authority(secured: tuple[str, Path], tmp_path: Path) -> None:
    address, authority = secured
    name, login = f"{address}/lib/five:v1", '.auth]\nusername = "ann"\npassword = "secret"'
    for trust in (f'ca = "{authority}"', "skip_verify = true"):
        root = hosts(
            tmp_path,
            address,
            f'fallback = false\n[host."https://{address}"]\n{trust}\n[host."https://{address}"{login}',
        )
        assert len((await pulled(name, root)).layers) == 5
    root = hosts(tmp_path, address, f'fallback = false\n[host."https://{address}"]\n[host."https://{address}"{login}')
    with pytest.raises(Unavailable, match=r"certificate is not valid: .*`ca` in the registry's host directory"):
        await pulled(name, root)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[tuple[str, Path]]:
    """A registry on TLS that wants a client certificate, in front of the plain one's images."""
    folder = tmp_path_factory.mktemp("mutual")
    certificates(folder)
    port = peers.free_port()
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nproxy: {{remoteurl: 'http://{registry}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}, tls: {{certificate: {folder}/server.crt, key: {folder}/server.key, "
        f"clientcas: [{folder}/ca.crt]}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
        try:
            peers.wait_until(lambda: peers.listening(port), "docker-registry listens")
            yield f"127.0.0.1:{port}", folder
        finally:
            peers.stop(process)


async def test_a_client_certificate(mutual: tuple[str, Path], tmp_path: Path) -> None:
    """In one file or two, as hosts.toml and as docker's folders have it; none, or another's, does not do."""
    address, folder = mutual
    name, ca = f"{address}/lib/five:v1", f'ca = "{folder}/ca.crt"'
    both = folder / "both.pem"
    both.write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    for client in (f'[["{folder}/server.crt", "{folder}/server.key"]]', f'"{both}"', f'["{both}"]'):
        root = hosts(tmp_path, address, f'server = "https://{address}"\n{ca}\nclient = {client}\n')
        assert len((await pulled(name, root)).layers) == 5
    docker = tmp_path / "docker" / address
    docker.mkdir(parents=True)
    for source, target in (("ca.crt", "ca.crt"), ("server.crt", "client.cert"), ("server.key", "client.key")):
        (docker / target).write_bytes((folder / source).read_bytes())
    assert len((await pulled(name, docker.parent)).layers) == 5
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await pulled(name, hosts(tmp_path, address, f'server = "https://{address}"\n{ca}\n'))
    wrong = f'server = "https://{address}"\nclient = ["{folder}/ca.key"]\n'
    with pytest.raises(InvalidArgument, match="it is not a PEM file with what is needed"):
        await pulled(name, hosts(tmp_path, address, wrong))


async def test_a_registry_on_this_machine_may_speak_tls(secured: tuple[str, Path], tmp_path: Path) -> None:
    image = await pulled(f"{secured[0]}/lib/five:v1", tmp_path, credentials=lambda _: Credentials("ann", "secret"))
    assert len(image.layers) == 5


async def test_once_tls_was_spoken_nothing_goes_out_in_plain_text(tmp_path: Path) -> None:
    """A registry on TLS that breaks off later, and then hears plain http on the same port."""
    certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    heard = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(10))
        writer.close()

    async def first(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", first)
    running = TestServer(app)
    await running.start_server(ssl=context)
    port = running.port
    async with RegistryClient(retry=QUICK) as client:
        reference = references.parse(f"127.0.0.1:{port}/x:y")
        with pytest.raises(NotFound):
            await client.resolve(reference)
        await running.close()
        later = await asyncio.start_server(serve, "127.0.0.1", port)
        async with later:
            with pytest.raises(Unavailable):
                await client.resolve(reference)
    assert heard
    assert all(each.startswith(b"\x16\x03") for each in heard), "only TLS handshakes"


async def test_a_certificate_that_is_not_trusted_is_no_reason_for_plain_http(
    secured: tuple[str, Path], tmp_path: Path
) -> None:
    """`http` with settings for TLS tries TLS first, as in containerd; what is wrong with it must be said."""
    certificates(tmp_path)
    root = hosts(tmp_path, "r.example", f'fallback = false\n[host."http://{secured[0]}"]\nca = "{tmp_path}/ca.crt"')
    with pytest.raises(Unavailable, match=r"certificate is not valid: .*`ca` in the registry's host directory"):
        await pulled("r.example/lib/five:v1", root)


async def test_http_with_settings_for_tls_and_without_a_port(tmp_path: Path) -> None:
    """Nobody listens where https would be: http has a port of its own."""

    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nothing)
    running = TestServer(app, host="127.77.0.1", port=80)
    try:
        await running.start_server()
        root = hosts(tmp_path, "r.example", 'fallback = false\n[host."http://127.77.0.1"]\nskip_verify = true')
        with pytest.raises(NotFound):
            await pulled("r.example/lib/five:v1", root)
    finally:
        await running.close()


async def test_an_authority_that_is_itself_signed_by_another(tmp_path: Path) -> None:
    """The one named is trusted as it is, as in containerd: the one above it need not be there."""
    chain(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nothing)
    running = TestServer(app)
    await running.start_server(ssl=context)
    try:
        for authority in ("between.crt", "server.crt"):
            text = f'fallback = false\n[host."https://127.0.0.1:{running.port}"]\nca = "{tmp_path}/{authority}"'
            with pytest.raises(NotFound):
                await pulled("r.example/lib/five:v1", hosts(tmp_path, "r.example", text))
    finally:
        await running.close()


def openssl(folder: Path, argv: str) -> None:
    subprocess.run(["openssl", *argv.split()], cwd=folder, check=True, capture_output=True)


def chain(folder: Path) -> None:
    """An authority, one that it signed, and a certificate for 127.0.0.1 signed by that."""
    certificates(folder)
    (folder / "ca").write_text("basicConstraints=critical,CA:TRUE\n")
    for argv in (
        "req -newkey rsa:2048 -nodes -subj /CN=between -keyout between.key -out between.csr",
        "x509 -req -in between.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ca -out between.crt",
        "x509 -req -in server.csr -CA between.crt -CAkey between.key -CAcreateserial -days 2 -extfile san "
        "-out server.crt",
    ):
        openssl(folder, argv)


async def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """Nobody is there to type it."""
    certificates(tmp_path)
    openssl(tmp_path, "rsa -aes128 -passout pass:x -in server.key -out locked.key")
    pair = f'client = [["{tmp_path}/server.crt", "{tmp_path}/locked.key"]]'
    root = hosts(tmp_path, "r.example", f'fallback = false\n[host."https://127.0.0.1:1"]\n{pair}')
    with pytest.raises(InvalidArgument, match="passphrase"):
        await pulled("r.example/lib/five:v1", root)


async def test_credentials_by_asking_back(secured: tuple[str, Path], tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    name = f"{secured[0]}/lib/five:v1"

    async def ask(host: str, reference: str, challenges: object) -> Credentials | None:
        asked.append((host, reference))
        return Credentials("ann", "secret")

    assert len((await pulled(name, tmp_path, ask=ask)).layers) == 5
    assert asked == [(secured[0], name)]


async def test_the_password_of_one_host_is_not_told_to_another(secured: tuple[str, Path], tmp_path: Path) -> None:
    heard: list[str | None] = []

    async def thief(request: web.Request) -> web.StreamResponse:
        heard.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    async with server(thief) as mirror:
        text = f'server = "https://{secured[0]}"\nskip_verify = true\n[host."http://{mirror}"]'
        only_there = {secured[0]: Credentials("ann", "secret")}
        image = await pulled("r.example/lib/five:v1", hosts(tmp_path, "r.example", text), credentials=only_there.get)
    assert len(image.layers) == 5
    assert set(heard) == {None}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program docker-credential-test on PATH that knows one host."""
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nread host\ncase $1-$host in\n"
        'get-known.example) echo \'{"ServerURL":"","Username":"ann","Secret":"s3"}\';;\n'
        'get-token.example) echo \'{"ServerURL":"","Username":"<token>","Secret":"tok"}\';;\n'
        "get-bad.example) echo nonsense;;\n"
        '*) echo "credentials not found in native keychain"; exit 1;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


async def test_helper_programs(helper: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"credsStore": "test", "credHelpers": {"other.example": "none"}}))
    lookup = docker_credentials(config)
    assert await looked_up(lookup, "known.example") == Credentials("ann", "s3")
    assert await looked_up(lookup, "token.example") == Credentials(identity_token="tok")  # noqa: S106
    assert await looked_up(lookup, "unknown.example") is None
    with pytest.raises(Exception, match="it gave no credentials"):
        await looked_up(lookup, "bad.example")
    with pytest.raises(NotFound, match="docker-credential-none"):
        await looked_up(lookup, "other.example")


async def test_a_login_that_is_wrong(secured: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="refuses the login"):
        await pulled(f"{secured[0]}/lib/five:v1", tmp_path, credentials=lambda _: Credentials("ann", "wrong"))
