"""Images as the kubelet sees them, with a real registry and beside other clients of the store."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images as layouts
import peers
import pytest
import yaml
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.content import ContentInfo
from corten.contracts.descriptor import Descriptor
from corten.contracts.scope import Scope
from corten.contracts.transfer import Login, RegistryImage, ShowTransfer, TransferProgress
from corten.errors import CortenError, DeadlineExceeded, InvalidArgument, NotFound, Unauthenticated, Unavailable
from corten.oci_image.gc_labels import of_children
from corten.supervisor import Supervisor
from corten_cri.config.images import ImagesConfig, Registry, RegistryAuth, RegistryHost
from corten_cri.images.image import CriImage, user_of
from corten_cri.images.index import ImageIndex
from corten_cri.images.logins import asking, decoded, login
from corten_cri.images.names import tags_and_digests
from corten_cri.images.pulling import Pulls
from corten_cri.images.reading import release_layers
from corten_cri.images.stall import Stall
from corten_cri.images.transfers import Transfers
from cri.cri_world import Cri, CriNode, cri_node, run, until
from peers import Ctr


@pytest.fixture
def ctr(node: CriNode) -> Ctr:
    """Another client of the same store."""
    return Ctr(node.daemon.address, "k8s.io")


async def status(cri: Cri, image: str, *, verbose: bool = False) -> Any:
    request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image), verbose=verbose)
    return await cri.call("ImageStatus", request)


async def listed(cri: Cri, name: str = "") -> dict[str, Any]:
    request = pb.ListImagesRequest(filter=pb.ImageFilter(image=pb.ImageSpec(image=name)))
    return {image.id: image for image in (await cri.call("ListImages", request)).images}


async def remove(cri: Cri, image: str) -> None:
    await cri.call("RemoveImage", pb.RemoveImageRequest(image=pb.ImageSpec(image=image)))


@pytest.mark.integration
async def test_a_pulled_image_is_known_by_tag_digest_id_and_the_beginning_of_its_id(cri: Cri, ctr: Ctr) -> None:
    id, name = await cri.pull("users"), cri.node.image("users")
    image = (await status(cri, name)).image
    assert image.id == id and image.repo_tags == [name] and image.size > 1000
    digest = image.repo_digests[0]
    assert digest.startswith(f"{name.removesuffix(':latest')}@sha256:")
    for text in (id, id[:20], id.removeprefix("sha256:"), id[7:19], digest, f"{name}@{digest.partition('@')[2]}"):
        assert (await status(cri, text)).image.id == id, text
    lines = {line.split()[0]: line for line in ctr("images", "ls").splitlines()[1:]}
    assert {name, digest, id} <= lines.keys(), "the names are in the store, as containerd has them"
    assert all("io.cri-containerd.image=managed" in lines[each] for each in (name, digest, id))


@pytest.mark.integration
async def test_the_status_tells_the_user_and_the_whole_config(cri: Cri) -> None:
    await cri.pull("users")
    reply = await status(cri, cri.node.image("users"), verbose=True)
    assert (reply.image.username, reply.image.HasField("uid")) == ("user", False)
    info = json.loads(reply.info["info"])
    assert info["imageSpec"]["config"]["User"] == "user" and info["imageSpec"]["rootfs"]["type"] == "layers"
    assert info["chainID"].startswith("sha256:")
    assert not (await status(cri, "nothing.example/of/that:name", verbose=True)).HasField("image")
    with pytest.raises(InvalidArgument, match="names none"):
        await status(cri, "")


@pytest.mark.integration
async def test_an_image_goes_with_all_its_names_and_its_content(cri: Cri, ctr: Ctr) -> None:
    id = await cri.pull("users")
    ctr("images", "tag", cri.node.image("users"), "example.com/second:1")
    await until(lambda: second_name(cri, id), "the second name is seen")
    await remove(cri, id)
    assert id not in await listed(cri)
    names = ctr("images", "ls", "-q").split()
    assert not [name for name in names if "users" in name or "second" in name or name == id]
    assert id.removeprefix("sha256:") not in ctr("content", "ls"), "the space is free when the call returns"
    await remove(cri, id)  # what is gone may be removed again


async def second_name(cri: Cri, id: str) -> bool:
    found = (await listed(cri)).get(id)
    return found is not None and "example.com/second:1" in found.repo_tags


@pytest.mark.integration
async def test_the_list_follows_what_other_clients_do(cri: Cri, ctr: Ctr) -> None:
    id = await cri.pull()
    ctr("images", "tag", cri.node.image(), "example.com/other:1")
    await until(lambda: has_tag(cri, id, "example.com/other:1"), "a new name is seen")
    assert (await listed(cri, "example.com/other")).keys() == {id}, "by the name of a repository"
    assert (await listed(cri, "other.example/none")).keys() == set()
    ctr("images", "rm", "example.com/other:1")
    await until(lambda: has_not_tag(cri, id, "example.com/other:1"), "a removed name is gone")
    pages = [page async for page in cri.stream("StreamImages", pb.StreamImagesRequest())]
    assert {image.id for page in pages for image in page.images} == (await listed(cri)).keys()


async def has_tag(cri: Cri, id: str, tag: str) -> bool:
    return id in (found := await listed(cri)) and tag in found[id].repo_tags


async def has_not_tag(cri: Cri, id: str, tag: str) -> bool:
    return not await has_tag(cri, id, tag)


@pytest.mark.integration
async def test_an_image_that_was_imported_becomes_the_kubelets_and_is_unpacked_when_it_is_wanted(
    cri: Cri, ctr: Ctr, tmp_path: Path
) -> None:
    layout = layouts.write_layout(tmp_path / "layout", [layouts.base_layer], "1", {"Labels": {"own": "yes"}})
    archive = tmp_path / "image.tar"
    run("tar", "-C", str(layout), "-cf", str(archive), ".")
    ctr("images", "import", "--no-unpack", "--base-name", "example.com/imported", str(archive))
    await until(lambda: imported(cri), "the import is seen")
    name = (await imported(cri)).repo_tags[0]
    assert (await imported(cri)).id in ctr("images", "ls", "-q").split(), "it has a name by its id"
    pod = await cri.run_pod()
    config = cri.config("sh", "-c", "echo works")
    config.image.image = name
    container = await cri.create(pod, config)
    await cri.start(container)
    await cri.ended(container)
    assert await cri.log(container) == "works"


async def imported(cri: Cri) -> Any:
    found = await listed(cri)
    return next((image for image in found.values() if any("imported" in tag for tag in image.repo_tags)), None)


@pytest.mark.integration
async def test_a_whole_id_is_never_the_name_of_another_image(cri: Cri, ctr: Ctr) -> None:
    """`sha256:HEX` can be read as docker.io/library/sha256 with a tag: somebody's image in the place of another."""
    wanted, other = await cri.pull("users"), await cri.pull("volumes")
    name = f"docker.io/library/{wanted}"
    ctr("images", "tag", cri.node.image("volumes"), name)
    await until(lambda: has_tag(cri, other, name), "the name is seen")
    assert (await status(cri, wanted)).image.id == wanted
    await remove(cri, wanted)
    assert not (await status(cri, wanted)).HasField("image")
    assert (await status(cri, name)).image.id == other


@pytest.mark.integration
async def test_the_pause_image_is_pinned(cri: Cri, ctr: Ctr) -> None:
    id, name = await cri.pull("volumes"), "registry.k8s.io/pause:3.10.2"
    ctr("images", "tag", cri.node.image("volumes"), name)
    await until(lambda: has_tag(cri, id, name), "the name is seen")
    await until(lambda: pinned(cri, id), "it is pinned")
    ctr("images", "rm", name)
    await until(lambda: has_not_tag(cri, id, name), "the name is gone")
    assert not await pinned(cri, id)


async def pinned(cri: Cri, id: str) -> bool:
    return bool((await listed(cri))[id].pinned)


@pytest.mark.integration
async def test_the_file_systems_of_images_and_of_containers_are_told_apart(cri: Cri) -> None:
    await cri.pull()
    root = str(cri.node.daemon.root / "io.containerd.snapshotter.v1.overlayfs")
    before = await cri.call("ImageFsInfo", pb.ImageFsInfoRequest())
    assert before.image_filesystems[0].fs_id.mountpoint == before.container_filesystems[0].fs_id.mountpoint == root
    assert before.image_filesystems[0].used_bytes.value > 100_000 and before.image_filesystems[0].inodes_used.value > 5
    assert before.image_filesystems[0].timestamp > 0


@pytest.mark.integration
async def test_an_image_that_is_not_there_is_said_to_be_not_there(cri: Cri) -> None:
    for text in (f"{cri.node.registry}/test/none:1", "localhost/UPPER", "http://x/y"):
        with pytest.raises(CortenError) as raised:
            await cri.call("PullImage", pb.PullImageRequest(image=pb.ImageSpec(image=text)))
        assert isinstance(raised.value, NotFound | InvalidArgument)


@pytest.mark.integration
async def test_a_registry_that_wants_a_login_gets_the_one_of_the_request(cri: Cri, tmp_path: Path) -> None:
    with peers.registry(tmp_path / "locked", locked=True) as host:
        layout = layouts.write_layout(tmp_path / "layout", [layouts.base_layer], config={"Labels": {"locked": "yes"}})
        to = ["--dest-tls-verify=false", "--dest-creds=ann:secret"]
        run("skopeo", "copy", "-q", *to, f"oci:{layout}:latest", f"docker://{host}/private:1")

        async def pull(**auth: str) -> str:
            request = pb.PullImageRequest(image=pb.ImageSpec(image=f"{host}/private:1"))
            if auth:
                request.auth.CopyFrom(pb.AuthConfig(**auth))
            return str((await cri.call("PullImage", request)).image_ref)

        both = base64.b64encode(b"ann:secret").decode()
        for refused in (
            {},
            {"username": "ann", "password": "wrong"},
            {"auth": both, "server_address": "other.example"},
        ):
            with pytest.raises(Unauthenticated) as raised:
                await pull(**refused)
            assert "secret" not in str(raised.value) and both not in str(raised.value)
        for good in ({"username": "ann", "password": "secret"}, {"auth": both, "server_address": f"http://{host}"}):
            assert (await status(cri, await pull(**good))).image.repo_tags == [f"{host}/private:1"]
    assert "secret" not in cri.node.daemon.log and both not in cri.node.daemon.log
    await remove(cri, f"{host}/private:1")
    with pytest.raises(Unavailable, match=host.partition(":")[0]):
        await pull(auth=both)  # the registry is gone


@pytest.mark.integration
async def test_what_a_verifier_does_not_allow_the_kubelet_does_not_get(tmp_path: Path) -> None:
    """Closed also when the verifier cannot be asked; it reads the login of the request where it is to."""
    programs, seen = tmp_path / "verifiers", tmp_path / "seen"
    programs.mkdir()

    def program(script: str) -> None:
        (programs / "signed").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "signed").chmod(0o755)

    with cri_node(tmp_path / "node") as node:
        config = node.daemon.folder / "config.yaml"
        bindir = {"bin_dir": str(programs), "pass_credentials": True, "per_verifier_timeout": "2s"}
        settings = yaml.safe_load(config.read_text())
        settings["plugins"]["io.containerd.image-verifier.v1.bindir"] = bindir
        config.write_text(yaml.safe_dump(settings))
        node.daemon.restart()
        async with node.client() as cri:
            for script, says in (
                ("echo unsigned; exit 3", r"'bindir' refuses it: signed \(exit code 3\): unsigned"),
                ("kill -9 $$", r"signed.*ended by signal 9"),
                ("exec sleep 60", r"signed.*longer than 2 s"),
            ):
                program(script)
                with pytest.raises(CortenError, match=says):
                    await cri.pull()
                assert not (await cri.call("ListImages", pb.ListImagesRequest())).images
            program(f"cp $DOCKER_CONFIG/config.json {seen}")
            request = pb.PullImageRequest(image=pb.ImageSpec(image=node.image("busy")))
            request.auth.CopyFrom(pb.AuthConfig(username="ann", password="secret"))  # noqa: S106
            assert (await cri.call("PullImage", request)).image_ref
    auths = json.loads(seen.read_text())["auths"]
    assert base64.b64decode(auths[node.registry]["auth"]) == b"ann:secret"


# ---------------------------------------------------------------- pulls
class OneImage:
    """Stands for the images: whatever is pulled is this one."""

    def __init__(self) -> None:
        target = Descriptor("application/vnd.oci.image.manifest.v1+json", "sha256:" + "1" * 64, 10)
        self.image = CriImage("sha256:" + "2" * 64, "", 10, {}, target)
        self.saved: list[str] = []

    def labels(self, name: str) -> dict[str, str]:
        return {}

    def snapshotter(self, handler: str = "") -> str:
        return {"kata": "devmapper"}.get(handler, "overlayfs")

    async def refresh(self, name: str) -> None:
        return

    async def find(self, text: str) -> CriImage:
        return self.image

    async def save(self, name: str, image: CriImage) -> None:
        self.saved.append(name)


class Moves:
    """A transferer that does what it is told when it is told to."""

    def __init__(self, events: Sequence[TransferProgress] = ()) -> None:
        self.events = events
        self.go = asyncio.Event()
        self.sources: list[RegistryImage] = []

    async def transfer(self, scope: Scope, source: Any, destination: Any, show: ShowTransfer) -> None:
        self.sources.append(source)
        for event in self.events:
            show(event)
        await self.go.wait()


def pulls(moves: Moves, images: OneImage | None = None, **settings: Any) -> Pulls:
    config = ImagesConfig(**settings)
    return Pulls(images or OneImage(), Transfers([moves]), Supervisor(), config)  # type: ignore[arg-type]


async def test_the_same_pull_wanted_twice_at_a_time_is_made_once() -> None:
    moves, images = Moves(), OneImage()
    made = pulls(moves, images)
    waiting = [asyncio.create_task(made.pull("busybox")) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()  # whoever asked first goes away: the others get their image
    moves.go.set()
    assert await asyncio.gather(*waiting[1:]) == [images.image.id] * 2
    assert len(moves.sources) == 1
    assert images.saved == [
        images.image.id, "docker.io/library/busybox:latest", f"docker.io/library/busybox@{images.image.target.digest}",
    ]  # fmt: skip


async def test_pulls_with_other_credentials_or_for_another_snapshotter_are_not_joined() -> None:
    moves = Moves()
    made = pulls(moves)
    ann, bob = (pb.AuthConfig(username=name) for name in ("ann", "bob"))
    work = [
        made.pull("busybox"),
        made.pull("busybox", ann),
        made.pull("busybox", bob),
        made.pull("busybox", ann, "kata"),
    ]
    waiting = [asyncio.ensure_future(each) for each in work]
    await asyncio.sleep(0.01)
    moves.go.set()
    await asyncio.gather(*waiting)
    assert len(moves.sources) == 4


async def test_a_pull_without_a_byte_for_long_is_given_up_and_says_so() -> None:
    moves = Moves([TransferProgress("downloading", "layer-1", progress=5, total=10)])
    with pytest.raises(DeadlineExceeded, match=r"no byte has come .*image_pull_progress_timeout"):
        await pulls(moves, image_pull_progress_timeout=0.1).pull("busybox")


@pytest.mark.parametrize("event", ["waiting", "extracting", "complete"])
async def test_waiting_for_a_turn_and_unpacking_are_no_stall(event: str) -> None:
    moves = Moves([TransferProgress("downloading", "layer-1"), TransferProgress(event, "layer-1")])
    work = asyncio.ensure_future(pulls(moves, image_pull_progress_timeout=0.05).pull("busybox"))
    await asyncio.sleep(0.3)
    assert not work.done()
    moves.go.set()
    await work


def test_bytes_are_counted_once_however_often_they_are_told() -> None:
    stall = Stall()
    for progress in (0, 5, 5, 9):
        stall.show(TransferProgress("downloading", "layer", progress=progress))
    assert stall.bytes == 9


# ---------------------------------------------------------------- words
@pytest.mark.parametrize(
    ("auth", "host", "wanted"),
    [
        ({"username": "ann", "password": "p"}, "r.example", Login("ann", "p")),
        ({"auth": "YW5uOnA="}, "r.example", Login("ann", "p")),
        ({"identity_token": "refresh"}, "r.example", Login("", "refresh")),
        ({"registry_token": "ready"}, "r.example", Login(header="Bearer ready")),
        ({}, "r.example", None),
        ({"username": "ann", "server_address": "https://r.example/v1/"}, "r.example", Login("ann", "")),
        ({"username": "ann", "server_address": "r.example:5000"}, "r.example:5000", Login("ann", "")),
        (
            {"username": "ann", "server_address": "https://index.docker.io/v1/"},
            "registry-1.docker.io",
            Login("ann", ""),
        ),
    ],
)
def test_credentials_of_a_request(auth: dict[str, str], host: str, wanted: Login | None) -> None:
    assert login(pb.AuthConfig(**auth), host) == wanted


@pytest.mark.parametrize("server", ["https://other.example", "other.example", "r.example:5000"])
def test_cve_2020_15157_credentials_for_one_server_are_not_shown_to_another(server: str) -> None:
    assert login(pb.AuthConfig(username="ann", server_address=server), "r.example") is None


async def test_configured_credentials_are_for_their_host_and_count_only_without_ones_of_the_request() -> None:
    configs = {each: RegistryHost(auth=RegistryAuth(username=each)) for each in ("one.example", "two.example:5000")}
    registry = Registry(configs=configs, auths={"https://one.example": RegistryAuth(username="old")})
    ask = asking(None, registry)
    assert await ask("one.example", "ref", []) == Login("old", "")
    assert await ask("two.example:5000", "ref", []) == Login("two.example:5000", "")
    assert await ask("two.example", "ref", []) is None
    assert await asking(pb.AuthConfig(username="ann"), registry)("one.example", "ref", []) == Login("ann", "")


class OneManifest:
    """Content of one blob."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.there = ContentInfo("sha256:m", labels=labels)
        self.changed: Sequence[str] = ()

    def info(self, digest: str) -> ContentInfo:
        if digest != self.there.digest:
            raise NotFound(digest)
        return self.there

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        self.there, self.changed = info, fieldpaths
        return info


def test_a_manifest_lets_go_of_its_layers_and_of_nothing_else() -> None:
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:l", 1)
    config = Descriptor("application/vnd.oci.image.config.v1+json", "sha256:c", 1)
    content = OneManifest({**of_children([config, layer, layer]), "own": "label"})
    release_layers(content, "sha256:m")  # type: ignore[arg-type]
    assert content.there.labels == {**of_children([config]), "own": "label"} and len(content.changed) == 2
    release_layers(content, "sha256:gone")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["%%%", "bm9jb2xvbg=="])
def test_credentials_that_are_none_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        decoded(text)
    assert text not in str(raised.value) and "nocolon" not in str(raised.value)


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("", (None, "")),
        ("0", (0, "")),
        ("1002:5", (1002, "")),
        ("www-data:33", (None, "www-data")),
        ("99999999999999999999", (None, "99999999999999999999")),
    ],
)
def test_cve_2026_46680_the_user_of_an_image_is_a_number_or_a_name(user: str, wanted: tuple[int | None, str]) -> None:
    assert user_of(user) == wanted


def test_names_are_tags_or_digests_or_neither() -> None:
    id = "sha256:" + "a" * 64
    names = ["b.example/x:2", "b.example/x:1", f"b.example/x@{id}", id, "NOT A NAME"]
    assert tags_and_digests(names) == (["b.example/x:1", "b.example/x:2"], [f"b.example/x@{id}"])


def test_an_ambiguous_beginning_of_an_id_is_refused() -> None:
    index, target = ImageIndex(), Descriptor("", "sha256:" + "9" * 64, 1)
    for number in "ab":
        index.put(f"x:{number}", CriImage(f"sha256:1{number}" + "0" * 62, "", 1, {}, target, pinned=number == "a"))
    assert index.by_id("1a").id.startswith("sha256:1a")
    with pytest.raises(InvalidArgument, match="several ids"):
        index.by_id("1")
    for text in ("", "sha256:", "ff"):
        with pytest.raises(NotFound):
            index.by_id(text)
    index.put("x:c", index.by_id("1a"))
    index.drop("x:a")
    assert index.by_id("1a").references == ("x:c",), "an image is there as long as a name is"
    index.drop("x:c")
    assert len(index) == 1


def test_mirrors_of_the_older_form_become_host_directories(tmp_path: Path) -> None:
    from corten.registry.host_folders import entries
    from corten_cri.config.images import Mirror, Registry, RegistryHost
    from corten_cri.images.mirrors import deprecations, host_folders

    mirrors = {
        "docker.io": Mirror(("http://m.example/own/v2", "127.0.0.1:5000")),
        "*": Mirror(("https://all.example",)),
    }
    registry = Registry(config_path="/etc/none", mirrors=mirrors, configs={"m.example": RegistryHost()})
    folders = host_folders(registry, tmp_path)
    assert folders == f"{tmp_path}/mirrors:/etc/none"
    found = entries(folders.split(":"), "docker.io")
    assert found is not None
    assert [str(each.url) for each in found[:2]] == ["http://m.example/own/v2/", "http://127.0.0.1:5000/v2/"]
    assert found[-1].url is None, "and at last the registry itself"
    others = entries(folders.split(":"), "other.example")
    assert others is not None and str(others[0].url) == "https://all.example/v2/"
    assert [id for id, _ in deprecations(registry)] == [
        "io.containerd.deprecation/cri-registry-mirrors", "io.containerd.deprecation/cri-registry-configs",
    ]  # fmt: skip
    assert host_folders(Registry(), tmp_path) == Registry().config_path
    with pytest.raises(InvalidArgument, match="not the name of a host"):
        host_folders(Registry(mirrors={"../x": Mirror()}), tmp_path)
    with pytest.raises(InvalidArgument, match="not an http or https URL"):
        host_folders(Registry(mirrors={"x": Mirror(("ftp://y",))}), tmp_path)
