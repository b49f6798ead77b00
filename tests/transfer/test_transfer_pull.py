"""Pulls by the daemon: what arrives, what is told meanwhile, platforms, names, and clear errors."""

import asyncio
import json
from collections.abc import Iterator

import images
import peers
import pytest
from corten import digests, platforms
from corten.api.events.content_pb2 import ContentCreate
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageReference, ImageStore, UnpackConfiguration
from corten.api.types.transfer.progress_pb2 import Progress
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.contracts.transfer import WARNING
from corten.errors import InvalidArgument, NotFound, Unimplemented
from corten.oci_image import media_types
from corten.oci_image.build import Image as BuiltImage
from corten.oci_image.build import Layer, build
from daemon import Daemon, running_daemon
from lying_registry import IMAGE, LAYER, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
HOST = platforms.host()
HERE = Platform(os=HOST.os, architecture=HOST.architecture, variant=HOST.variant)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


def source(name: str) -> OCIRegistry:
    return OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))


def unpacked(name: str, snapshotter: str = "") -> ImageStore:
    unpack = UnpackConfiguration(platform=HERE, snapshotter=snapshotter)
    return ImageStore(name=name, platforms=[HERE], unpacks=[unpack], labels={"a": "b"})


async def test_events_of_content_say_what_it_is(daemon: Daemon, registry: str) -> None:
    name, seen = f"{registry}/lib/five:v1", dict[str, str]()
    async with Client(daemon.address, "events") as client:
        ready = asyncio.Event()

        async def listen() -> None:
            async for envelope in client.events.subscribe(["namespace==events"]):
                ready.set()
                if envelope.topic == "/content/create":
                    created = ContentCreate.FromString(envelope.event.value)
                    seen[created.digest] = created.mediaType
                if envelope.topic == "/images/create" and not envelope.event.value.find(b"last") < 0:
                    return

        listening = asyncio.create_task(listen())
        while not ready.is_set():  # what is subscribed to begins when the daemon has got so far
            await client.namespaces.create("events")
            await client.namespaces.delete("events")
            await asyncio.sleep(0.05)
        await client.transfers.run(source(name), ImageStore(name="last", platforms=[HERE]))
        await listening
        found = await resolve(client, await client.images.get("last"))
    expected = [found.target, found.manifest.config, *found.manifest.layers]
    assert seen == {each.digest: each.media_type for each in expected}


async def test_the_image_is_there_unpacked_and_named(daemon: Daemon, registry: str) -> None:
    name, seen = f"{registry}/lib/five:v1", list[Progress]()
    async with Client(daemon.address, "pull") as client:
        await client.transfers.run(source(name), unpacked(name), seen.append)
        image = await client.images.get(name)
        found = await resolve(client, image)
        assert image.labels == {"a": "b"}
        top = await client.snapshots("overlayfs").stat(found.top)
        assert top.kind == "committed"
        assert (await client.content.info(found.manifest.config.digest)).labels[
            "containerd.io/gc.ref.snapshot.overlayfs"
        ] == found.top
        assert [lease.id for lease in await client.leases.list()] == []
    check_progress(seen, name, found.manifest.layers[0].digest, found.target.digest)


def check_progress(seen: list[Progress], name: str, layer: str, manifest: str) -> None:
    whole = [progress.event for progress in seen if not progress.name]
    assert whole == [
        f"Resolving from OCI Registry ({name})",
        f"Pulling from OCI Registry ({name})",
        f"Completed pull from OCI Registry ({name})",
    ]
    of_image = [progress.event for progress in seen if progress.name == name]
    assert of_image == ["fetching image content", "saved"]
    items = {progress.name: progress for progress in seen if progress.parents}
    assert items[f"manifest-{manifest}"].parents == [name]
    assert items[f"layer-{layer}"].parents == [f"manifest-{manifest}"]
    assert items[f"layer-{layer}"].desc.digest == layer
    events = [progress.event for progress in seen if progress.name == f"layer-{layer}"]
    assert (events[0], events[-1]) == ("waiting", "extracted")
    stages = [event for event in dict.fromkeys(events) if event not in ("downloading", "extracting")]
    assert stages == ["waiting", "complete", "extracted"]  # a small layer may be unpacked before anyone looks


async def test_a_further_name_stays_once_it_is_asked_for_by_itself(daemon: Daemon, registry: str) -> None:
    """Further names go with the image that they are of; not so those that were tagged or pulled since."""
    name = f"{registry}/lib/five:v1"
    further = [ImageReference(name=each) for each in ("tagged", "again", "put", "passing")]
    async with Client(daemon.address, "further") as client:
        await client.transfers.run(source(name), ImageStore(name=name, platforms=[HERE], extra_references=further))
        await client.transfers.run(ImageStore(name=name), ImageStore(name="tagged"))
        await client.transfers.run(source(name), ImageStore(name="again", platforms=[HERE], labels={"a": "b"}))
        await client.images.put(Image(name="put", target=(await client.images.get(name)).target))
        await client.images.delete(name, sync=True)
        assert {each.name: dict(each.labels) for each in await client.images.list()} == {
            "tagged": {}, "again": {"a": "b"}, "put": {},
        }  # fmt: skip


async def test_the_tree_of_a_pull_has_the_source_at_its_top(daemon: Daemon, registry: str) -> None:
    name, seen = f"{registry}/lib/five:v1", list[Progress]()
    async with Client(daemon.address, "top") as client:
        await client.transfers.run(source(name), ImageStore(name="other", platforms=[HERE]), seen.append)
    assert [each.name for each in seen if each.event == "fetching image content"] == [name]
    assert next(list(each.parents) for each in seen if each.name.startswith("manifest-")) == [name]
    assert [each.name for each in seen if each.event == "saved"] == ["other"]


async def test_again_nothing_is_fetched(daemon: Daemon, registry: str) -> None:
    name, seen = f"{registry}/lib/five:v1", list[Progress]()
    async with Client(daemon.address, "again") as client:
        await client.transfers.run(source(name), unpacked(name))
        await client.transfers.run(source(name), unpacked(name), seen.append)
    events = {progress.event for progress in seen if progress.parents}
    assert events == {"waiting", "already exists", "extracted"}


async def test_many_at_once_share_the_work(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "many") as client:
        seen: list[list[Progress]] = [[] for _ in range(4)]
        await asyncio.gather(
            *(client.transfers.run(source(name), unpacked(name), each.append) for each in seen),
        )
        extracting = {(n, p.name) for n, each in enumerate(seen) for p in each if p.event == "extracting"}
        assert len({layer for _, layer in extracting}) == len(extracting) == 5
        assert await client.content.statuses() == []
        assert len([each async for each in client.snapshots("overlayfs").walk()]) == 5


async def test_ctr_runs_what_the_daemon_pulled(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "default") as client:
        await client.transfers.run(source(name), unpacked(name, "native"))
    ctr = daemon.ctr
    said = await asyncio.to_thread(ctr, "run", "--rm", "--snapshotter", "native", name, "one", "cat", "/data/changed")
    assert said == "second"


async def test_all_names(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    further = [
        ImageReference(name="plain.example/a:1"),
        ImageReference(name="digest.example/a", add_digest=True),
        ImageReference(name="prefix.example/a", is_prefix=True),
    ]
    async with Client(daemon.address, "names") as client:
        await client.transfers.run(source(name), ImageStore(name="x.example/y:z", extra_references=further))
        names = [image.name for image in await client.images.list()]
        digest = (await client.images.get("x.example/y:z")).target.digest
        assert names == [f"digest.example/a@{digest}", "plain.example/a:1", "x.example/y:z"]
        await client.transfers.run(ImageStore(name="x.example/y:z"), ImageStore(name="tagged:1", labels={"t": "1"}))
        tagged = await client.images.get("tagged:1")
        assert (tagged.target.digest, tagged.labels) == (digest, {"t": "1"})


def of_old(media_type: str) -> BuiltImage:
    """An image as registries had them whose config was called a stream of bytes."""
    manifest = json.loads(IMAGE.blobs[IMAGE.target.digest])
    manifest["config"]["mediaType"] = "application/octet-stream"
    manifest["layers"][0]["annotations"] = {"b": "2 > 1", "a": ""}
    data = json.dumps({**manifest, "mediaType": media_type, "unknown": 1}).encode()
    target = Descriptor(media_type, digests.of(data), len(data))
    return BuiltImage("x", target, {**IMAGE.blobs, target.digest: data})


AS_CONTAINERD = """{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
   "config": {
      "mediaType": "application/vnd.docker.container.image.v1+json",
      "digest": "CONFIG",
      "size": 210
   },
   "layers": [
      {
         "mediaType": "application/vnd.oci.image.layer.v1.tar",
         "digest": "LAYER",
         "size": 3082240,
         "annotations": {
            "a": "",
            "b": "2 \\u003e 1"
         }
      }
   ]
}"""


async def test_an_image_of_old_is_stored_as_containerd_stores_it(daemon: Daemon) -> None:
    image = of_old(media_types.DOCKER_MANIFEST)
    async with serving(image=image) as (address, _), Client(daemon.address, "old") as client:
        await client.transfers.run(source(f"{address}/x:tag"), unpacked("old", "native"))
        found = await resolve(client, await client.images.get("old"))
        assert found.target.digest != image.target.digest
        data = b"".join([part async for part in client.content.read(found.target.digest)]).decode()
        assert data == AS_CONTAINERD.replace("CONFIG", found.manifest.config.digest).replace("LAYER", LAYER)
        assert (await client.snapshots("native").stat(found.top)).kind == "committed"


async def test_layers_that_are_none_of_containers_are_not_unpacked(daemon: Daemon) -> None:
    """WebAssembly, say, below a config as images have it; its shim takes them from the content store."""
    wasm = Descriptor("application/vnd.wasm.content.layer.v1+wasm", digests.of(b"wasm"), 4)
    image = build("x", [Layer(b"wasm", wasm.digest, wasm)], platforms.Platform("wasi", "wasm"), {})
    said: list[str] = []
    async with serving(image=image) as (address, _), Client(daemon.address, "wasm") as client:
        await client.transfers.run(
            source(f"{address}/x:tag"), unpacked("wasm", "native"), lambda told: said.append(told.event)
        )
        assert (await client.images.get("wasm")).target.digest == image.target.digest
        assert await client.content.read_all(wasm.digest, 4) == b"wasm"
        assert [each async for each in client.snapshots("native").walk()] == []
    assert f"{WARNING}: {address}/x:tag is made for wasi/wasm, not for {HOST}" in said


async def test_what_does_not_work_says_why(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    other = ImageStore(name=name, platforms=[Platform(os="linux", architecture="s390x")])
    async with Client(daemon.address, "wrong") as client:
        run = client.transfers.run
        with pytest.raises(NotFound, match=r"linux/s390x, only for: linux/amd64"):
            await run(source(name), other)
        with pytest.raises(NotFound, match="not found there"):
            await run(source(f"{registry}/lib/none:v1"), unpacked("n"))
        with pytest.raises(InvalidArgument, match="no name"):
            await run(source(name), ImageStore())
        with pytest.raises(InvalidArgument, match="there is no plugin of that name"):
            await run(source(name), unpacked("n", "none"))
        with pytest.raises(Unimplemented, match="nothing of type"):
            await run(Platform(), unpacked("n"))
        with pytest.raises(Unimplemented, match="nothing that this plugin does"):
            await run(source(name), source(name))
        with pytest.raises(NotFound, match="stream 'gone'"):
            asked = OCIRegistry(reference=name, resolver=RegistryResolver(auth_stream="gone"))
            await run(asked, unpacked("n"))
        assert await client.images.list() == []
        assert [lease.id for lease in await client.leases.list()] == []
