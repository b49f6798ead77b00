"""Referrers that go with their image: pulled, kept, exported, imported, pushed; registries with the API and without."""

import asyncio
import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import peers
import pytest
from aiohttp import web
from commands import Corten
from corten import digests
from corten.client.client import Client
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.oci_image import documents, gc_labels, media_types
from daemon import Daemon, running_daemon
from lying_registry import IMAGE, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
SIGNATURE, NOTE = "application/vnd.example.signature", "application/vnd.example.note"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's, which has no referrers API."""
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


class Artifact:
    """A manifest about something, with a layer, as `oras attach` makes it."""

    def __init__(self, subject: Descriptor, artifact_type: str, text: bytes) -> None:
        self.blobs = {digests.of(data): data for data in (b"{}", text)}
        empty, layer = (
            Descriptor(type, digests.of(data), len(data))
            for type, data in ((media_types.OCI_EMPTY, b"{}"), ("text/plain", text))
        )
        data = documents.dump(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_MANIFEST,
                "artifactType": artifact_type,
                "config": documents.as_document(empty),
                "layers": [documents.as_document(layer)],
                "subject": documents.as_document(subject),
                "annotations": {"by": "ann"},
            }
        )
        self.target = Descriptor(media_types.OCI_MANIFEST, digests.of(data), len(data))
        self.children, self.type = (empty, layer), artifact_type
        self.blobs[self.target.digest] = data

    async def put(self, client: Client, name: str) -> None:
        """Have it in the daemon as an image."""
        async with client.leased() as leased:
            for digest, data in self.blobs.items():
                labels = gc_labels.of_children(self.children) if digest == self.target.digest else {}
                await leased.content.put(digest, data, Descriptor("", digest, len(data)), labels)
            await leased.images.put(Image(name, self.target))

    def listed(self) -> dict[str, Any]:
        return {**documents.as_document(self.target), "artifactType": self.type, "annotations": {"by": "ann"}}


async def pushed(daemon: Daemon, namespace: str, name: str, artifacts: list[Artifact]) -> None:
    """Push artifacts, each under no tag of its own."""
    async with Client(daemon.address, namespace) as client:
        for number, artifact in enumerate(artifacts):
            await artifact.put(client, f"x.example/artifact:{number}")
    for number, artifact in enumerate(artifacts):
        said = await asyncio.to_thread(
            Corten(daemon, namespace), "push", f"x.example/artifact:{number}", f"{name}@{artifact.target.digest}"
        )
        assert artifact.target.digest in said


def manifest(address: str, path: str, object: str) -> Any:
    request = urllib.request.Request(
        f"http://{address}/v2/{path}/manifests/{object}", headers={"Accept": media_types.OCI_INDEX}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert answer.headers["Content-Type"] == media_types.OCI_INDEX
        return json.loads(answer.read())


def target_of(corten: Corten, name: str) -> Descriptor:
    record = corten.json("image", "inspect", name)
    assert isinstance(record, dict)
    return Descriptor(record["media_type"], record["digest"], 0)


async def size(daemon: Daemon, namespace: str, target: Descriptor) -> Descriptor:
    async with Client(daemon.address, namespace) as client:
        return Descriptor(target.media_type, target.digest, (await client.content.info(target.digest)).size)


async def blobs(daemon: Daemon, namespace: str) -> set[str]:
    async with Client(daemon.address, namespace) as client:
        return {info.digest async for info in client.content.walk()}


async def test_through_a_registry_without_the_api(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    """Pushed, listed by tag, pulled, kept from gc, exported, imported, pushed on: the same digests everywhere."""
    name, first = f"{registry}/lib/five:v1", Corten(daemon, "first")
    await asyncio.to_thread(first, "pull", "--no-unpack", name)
    subject = await size(daemon, "first", await asyncio.to_thread(target_of, first, name))
    signature, note = Artifact(subject, SIGNATURE, b"signed"), Artifact(subject, NOTE, b"noted")
    countersigned = Artifact(signature.target, SIGNATURE, b"and signed")
    await pushed(daemon, "first", f"{registry}/lib/five", [signature, note, countersigned, signature])
    index = await asyncio.to_thread(manifest, registry, "lib/five", subject.digest.replace(":", "-"))
    assert index["manifests"] == [signature.listed(), note.listed()], "each once, in the order of their coming"

    plain = Corten(daemon, "plain")
    await asyncio.to_thread(plain, "pull", "--no-unpack", name)
    assert not await blobs(daemon, "plain") & {signature.target.digest, note.target.digest}

    signed = Corten(daemon, "signed")
    await asyncio.to_thread(signed, "pull", "--no-unpack", "--referrer-type", SIGNATURE, name)
    await collected(daemon, "signed")
    have = await blobs(daemon, "signed")
    assert have >= {*signature.blobs, *countersigned.blobs} and note.target.digest not in have
    async with Client(daemon.address, "signed") as client:
        labels = (await client.content.info(subject.digest)).labels
    kept = {key: value for key, value in labels.items() if ".referrer." in key}
    short = signature.target.digest.removeprefix("sha256:")[:12]
    assert kept == {f"containerd.io/gc.ref.content.referrer.sha256.{short}": signature.target.digest}

    await asyncio.to_thread(signed, "pull", "--no-unpack", "--referrers", name)
    assert await blobs(daemon, "signed") >= {*have, *note.blobs}
    lines = (await asyncio.to_thread(signed, "image", "tree", name)).splitlines()
    assert sum("referrer" in line.split("─")[-1].split()[0] for line in lines) == 3
    assert "nothing" in await asyncio.to_thread(signed, "image", "inspect", name)

    await exported(daemon, signed, name, tmp_path, [signature, note, countersigned])
    await pushed_on(daemon, registry, name, subject, [signature, note])


async def collected(daemon: Daemon, namespace: str) -> None:
    """A collection has run."""
    async with Client(daemon.address, namespace) as client:
        await client.images.put(Image("x.example/none:1", Descriptor("x", digests.of(b"none"), 4)))
        await client.images.delete("x.example/none:1", sync=True)


async def exported(daemon: Daemon, corten: Corten, name: str, folder: Path, artifacts: list[Artifact]) -> None:
    """Into an archive, and from it into another namespace, where the image keeps them too."""
    for number in (1, 2):
        await asyncio.to_thread(corten, "export", f"{folder}/{number}.tar", name)
    archive = (folder / "1.tar").read_bytes()
    assert archive == (folder / "2.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = set(tar.getnames())
        entries = json.loads((tar.extractfile("index.json") or io.BytesIO()).read())["manifests"]
    wanted = {digest for artifact in artifacts for digest in artifact.blobs}
    assert members >= {f"blobs/{digest.replace(':', '/')}" for digest in wanted}
    assert [entry["digest"] for entry in entries[1:]] == sorted(artifact.target.digest for artifact in artifacts)
    subjects = {entry["digest"]: entry["annotations"]["io.containerd.manifest.subject"] for entry in entries[1:]}
    assert subjects[artifacts[2].target.digest] == artifacts[0].target.digest
    other = Corten(daemon, "imported")
    said = await asyncio.to_thread(other, "import", "--no-unpack", f"{folder}/1.tar")
    assert said.split()[0] == name and len(said.splitlines()) == 1, "what is about an image is none"
    await collected(daemon, "imported")
    assert await blobs(daemon, "imported") >= wanted
    await asyncio.to_thread(other, "image", "rm", "--sync", name)
    assert await blobs(daemon, "imported") == set()


async def pushed_on(daemon: Daemon, registry: str, name: str, subject: Descriptor, artifacts: list[Artifact]) -> None:
    signed, copy = Corten(daemon, "signed"), f"{registry}/copy/five:v2"
    await asyncio.to_thread(signed, "push", name, f"{registry}/bare/five:v2")
    assert await asyncio.to_thread(signed.json, "image", "referrers", f"{registry}/bare/five:v2") == []
    await asyncio.to_thread(signed, "push", "--referrers", name, copy)
    await asyncio.to_thread(signed, "push", "--referrers", name, copy)
    found = await asyncio.to_thread(signed.json, "image", "referrers", copy)
    assert isinstance(found, list)
    assert {(each["digest"], each["artifact_type"]) for each in found} == {
        (artifact.target.digest, artifact.type) for artifact in artifacts
    }
    index = await asyncio.to_thread(manifest, registry, "copy/five", subject.digest.replace(":", "-"))
    assert len(index["manifests"]) == 2


async def test_a_registry_that_lists_them_by_itself(daemon: Daemon) -> None:
    """It says so when one is pushed, so that no tag is written; and it is asked for them by the API."""
    artifact, put = Artifact(IMAGE.target, SIGNATURE, b"signed"), list[str]()

    async def first(request: web.Request) -> web.Response | None:
        if request.path.endswith(f"/referrers/{IMAGE.target.digest}"):
            return web.json_response({"schemaVersion": 2, "manifests": [artifact.listed()]})
        if request.method == "PUT" and "/manifests/" in request.path:
            put.append(request.path)
            headers = {"OCI-Subject": IMAGE.target.digest, "Docker-Content-Digest": artifact.target.digest}
            return web.Response(status=201, headers=headers)
        name = request.path.rpartition("/")[2]
        if "/referrers/" not in request.path and name in artifact.blobs:
            headers = {"Content-Type": media_types.OCI_MANIFEST, "Docker-Content-Digest": name}
            return web.Response(body=artifact.blobs[name], headers=headers)
        return None

    async with serving(first) as (address, _):
        await pushed(daemon, "api", f"{address}/x", [artifact])
        assert put == [f"/v2/x/manifests/{artifact.target.digest}"]
        await asyncio.to_thread(Corten(daemon, "listed"), "pull", "--no-unpack", "--referrers", f"{address}/x:tag")
    assert await blobs(daemon, "listed") == {*IMAGE.blobs, *artifact.blobs}


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (Artifact(Descriptor("x", digests.of(b"other"), 5), NOTE, b"noted"), "but it is about sha256:"),
        (Artifact(IMAGE.target, NOTE, b"gone"), "not found"),
    ],
)
async def test_a_registry_that_lies_about_them(daemon: Daemon, listed: Artifact, says: str) -> None:
    """Nothing is saved, and no blob of it stays."""

    async def first(request: web.Request) -> web.Response | None:
        if "/referrers/" in request.path:
            return web.json_response({"schemaVersion": 2, "manifests": [listed.listed()]})
        name = request.path.rpartition("/")[2]
        if name in listed.blobs and "not found" not in says:
            headers = {"Content-Type": media_types.OCI_MANIFEST, "Docker-Content-Digest": name}
            return web.Response(body=listed.blobs[name], headers=headers)
        return None

    corten = Corten(daemon, "lies")
    async with serving(first) as (address, _):
        said = await asyncio.to_thread(corten.fails, "pull", "--no-unpack", "--referrers", f"{address}/x:tag")
    assert says in said
    await collected(daemon, "lies")
    assert await blobs(daemon, "lies") == set()
