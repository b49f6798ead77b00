"""Pushes by the daemon, with a login asked for over the client's stream."""

import asyncio
import base64
import io
import subprocess
from collections.abc import Iterator

import images
import peers
import pytest
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.api.types.transfer.progress_pb2 import Progress
from corten.api.types.transfer.registry_pb2 import HTTPDebug, OCIRegistry, RegistryResolver
from corten.client.byte_streams import receive_file
from corten.client.client import Client
from corten.errors import NotFound, Unauthenticated
from corten.registry.credentials import Credentials
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants user `ann` and password `secret`, with an image."""
    folder = tmp_path_factory.mktemp("locked")
    script = 'print "ann:" . crypt("secret", "\\$2y\\$04\\$abcdefghijklmnopqrstuu")'
    (folder / "htpasswd").write_bytes(subprocess.run(["perl", "-e", script], capture_output=True, check=True).stdout)
    port = peers.free_port()
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\nauth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
        try:
            peers.wait_until(lambda: peers.listening(port), "docker-registry listens")
            layout = images.write_layout(folder / "layout")
            argv = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds=ann:secret"]
            subprocess.run([*argv, f"oci:{layout}:latest", f"docker://127.0.0.1:{port}/private:v1"], check=True)
            yield f"127.0.0.1:{port}"
        finally:
            peers.stop(process)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


def registry(name: str, auth_stream: str) -> OCIRegistry:
    return OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http", auth_stream=auth_stream))


async def test_pulled_and_pushed_elsewhere_with_a_login(daemon: Daemon, locked: str) -> None:
    asked, seen = list[str](), list[Progress]()

    def ann(host: str) -> Credentials:
        asked.append(host)
        return Credentials("ann", "secret")

    name, copy = f"{locked}/private:v1", f"{locked}/copy/of:v2"
    async with Client(daemon.address, "push") as client, client.transfers.credentials(ann) as stream:
        await client.transfers.run(registry(name, stream), ImageStore(name=name))
        await client.transfers.run(ImageStore(name=name), registry(copy, stream), seen.append)
        digest = (await client.images.get(name)).target.digest
        await client.transfers.run(registry(copy, stream), ImageStore(name="again"))
        assert (await client.images.get("again")).target.digest == digest
    assert set(asked) == {locked}
    whole = [progress.event for progress in seen if not progress.name]
    assert whole == [f"Pushing to OCI Registry ({copy})", f"Completed push to OCI Registry ({copy})"]
    assert {"pushing content", "pushed content"} == {p.event for p in seen if p.name == name}
    assert [p.event for p in seen if p.name == f"manifest-{digest}"] == ["waiting", "complete"]


async def test_wrong_or_no_login(daemon: Daemon, locked: str) -> None:
    async with Client(daemon.address, "wrong") as client:
        for lookup, says in (
            (lambda _: Credentials("ann", "no"), "refuses the login"),
            (lambda _: None, "wants a login"),
        ):
            async with client.transfers.credentials(lookup) as stream:
                with pytest.raises(Unauthenticated, match=says):
                    await client.transfers.run(registry(f"{locked}/private:v1", stream), ImageStore(name="n"))
        with pytest.raises(NotFound):
            await client.transfers.run(ImageStore(name="none"), registry(f"{locked}/x:v1", ""))


async def test_requests_are_dumped_for_who_asks_and_without_secrets(daemon: Daemon, locked: str) -> None:
    name, out = f"{locked}/private:v1", io.BytesIO()
    login = base64.b64encode(b"ann:secret").decode()
    async with (
        Client(daemon.address, "dump") as client,
        client.transfers.credentials(lambda _: Credentials("ann", "secret")) as asking,
        client.transfers.opened("logs") as logs,
    ):
        receiving = asyncio.ensure_future(receive_file(logs, out))
        source = registry(name, asking)
        source.resolver.http_debug, source.resolver.logs_stream = HTTPDebug.DEBUG, logs.id
        await client.transfers.run(source, ImageStore(name=name))
        await asyncio.wait_for(receiving, 20)
    lines = out.getvalue().decode().splitlines()
    assert "HEAD /v2/private/manifests/v1 HTTP/1.1" in lines
    assert "HTTP/1.1 401 Unauthorized" in lines
    assert "HTTP/1.1 200 OK" in lines
    assert "Authorization: (left out)" in lines
    assert login not in out.getvalue().decode()
