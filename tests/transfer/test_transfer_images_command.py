"""`corten image …`: inspect, tree, verify, du, prune, mount and convert, as an operator uses them."""

import asyncio
import gzip
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import peers
import pytest
from aiohttp import web
from commands import Corten
from corten import digests
from corten.oci_image import media_types
from daemon import Daemon, running_daemon
from lying_registry import IMAGE, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        images.push(images.write_layout(folder / "one", images.FIVE[:1]), f"{address}/lib/one:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


def test_inspect_and_tree(daemon: Daemon, registry: str) -> None:
    corten, name = Corten(daemon, "inspect"), f"{registry}/lib/five:v1"
    corten("image", "pull", name)
    said = corten("image", "inspect", name)
    fields = dict(line.split(": ", 1) for line in said.splitlines())
    assert fields["Complete"].strip() == "linux/amd64"
    assert fields["Missing"].strip() == "nothing"
    assert (fields["Unpacked"].strip(), fields["Layers"].strip(), fields["Command"].strip()) == ("overlayfs", "5", "sh")
    record = corten.json("image", "inspect", name)
    assert isinstance(record, dict)
    assert record["config"]["config"]["Env"] == ["PATH=/bin", "FROM_IMAGE=yes"]
    assert len(record["layers"]) == 5
    shown = corten("image", "tree", name).splitlines()
    assert [line.split()[0] for line in shown] == ["manifest", *["├─"] * 5, "└─"]
    top = corten.json("image", "tree", name)
    assert isinstance(top, dict)
    assert [child["kind"] for child in top["children"]] == ["config", *["layer"] * 5]
    assert top["present"]


def test_what_is_missing_or_damaged_is_told(daemon: Daemon, registry: str) -> None:
    corten, name = Corten(daemon, "verify"), f"{registry}/lib/five:v1"
    corten("image", "pull", "--no-unpack", name)
    assert "whole" in corten("image", "verify", name)
    record = corten.json("image", "inspect", name)
    assert isinstance(record, dict)
    gone, bad = record["layers"][1]["digest"], record["layers"][2]["digest"]
    corten("content", "rm", gone)
    blob = daemon.root / "io.containerd.content.v1.content/blobs" / bad.replace(":", "/")
    data = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(b"x" + data[1:])
    try:
        done = daemon.corten("image", "verify", name, namespace="verify")
        assert done.returncode == 1
        assert set(done.stdout.splitlines()) == {f"missing layer {gone}", f"damaged layer {bad}"}
        assert "1 damaged, 1 missing (remove and pull it again)" in done.stderr
    finally:
        blob.write_bytes(data)
    assert "1 blobs" in corten("image", "inspect", name)
    assert "missing" in corten("image", "tree", name)


def test_an_export_that_fails_leaves_the_file_as_it_was(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    corten, name, archive = Corten(daemon, "whole"), f"{registry}/lib/five:v1", tmp_path / "five.tar"
    corten("image", "pull", "--no-unpack", name)
    record = corten.json("image", "inspect", name)
    assert isinstance(record, dict)
    last = max(layer["digest"] for layer in record["layers"])
    blob = daemon.root / "io.containerd.content.v1.content/blobs" / last.replace(":", "/")
    data = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(b"x" + data[1:])
    archive.write_text("an older one")
    archive.chmod(0o640)
    try:
        assert last in corten.fails("image", "export", str(archive), name)
    finally:
        blob.write_bytes(data)
    assert archive.read_text() == "an older one"
    corten("image", "export", str(archive), name)
    assert tarfile.is_tarfile(archive)
    assert archive.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [archive]
    said = corten.fails("image", "export", str(tmp_path / "nowhere/x.tar"), name)
    assert "nowhere/x.tar" in said and "namespace" not in said
    assert "/dev/full: cannot write: " in corten.fails("image", "export", "/dev/full", name)
    assert "archive: it cannot be read" in corten.fails("image", "import", "/proc/self/mem")
    corten("image", "export", "/dev/null", name)
    assert Path("/dev/null").is_char_device()


def for_two(folder: Path) -> tuple[images.Layout, dict[str, Any], list[dict[str, Any]], set[int]]:
    """A layout with an index for amd64 and arm64; its one layer, the entries, and the sizes of the two images."""
    layout = images.Layout(folder)
    entries, sizes = [], set[int]()
    plain = images.tar_of(lambda tar: images.file(tar, "a", b"a"))
    layer = layout.blob(gzip.compress(plain), media_types.OCI_LAYER_GZIP)
    for machine in ("amd64", "arm64"):
        rootfs = {"type": "layers", "diff_ids": [digests.of(plain)] * 2}
        config = layout.json({"architecture": machine, "os": "linux", "rootfs": rootfs}, media_types.OCI_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": [layer] * 2}
        sizes.add(config["size"] + layer["size"])
        made = layout.json(manifest, media_types.OCI_MANIFEST)
        entries.append({**made, "platform": {"os": "linux", "architecture": machine}})
    index = layout.json(
        {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}, media_types.OCI_INDEX
    )
    index["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    return layout, layer, entries, sizes


def test_what_an_index_has_for_others_is_not_missing(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    layout, layer, _, sizes = for_two(tmp_path / "both")
    name = f"{registry}/lib/both:v1"
    images.push(layout.folder, name, everything=True)
    corten = Corten(daemon, "both")
    corten("image", "pull", "--platform", "linux/amd64", name)
    assert "whole, " in (said := corten("image", "verify", name))
    assert "; manifests for other platforms, not fetched: 1" in said
    assert corten.json("images")[0]["size"] in sizes, "a layer that is there twice counts once"  # type: ignore[index]
    corten("content", "rm", layer["digest"])
    assert f"{name}: 0 damaged, 1 missing" in corten.fails("image", "verify", name)


def test_one_platform_of_an_image_is_pushed_by_itself(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    layout, _, entries, _ = for_two(tmp_path / "both")
    name, copy = f"{registry}/lib/two:v1", f"{registry}/copy/one:v1"
    images.push(layout.folder, name, everything=True)
    corten = Corten(daemon, "push-one")
    corten("image", "pull", "--platform", "linux/arm64", name)
    assert "or push one of its images with --platform" in corten.fails("image", "push", name, copy)
    assert "linux/s390x, only for: linux/amd64, linux/arm64" in corten.fails("push", "--platform=s390x", name, copy)
    assert "not in the content store" in corten.fails("push", "--platform", "linux/amd64", name, copy)
    assert corten("image", "push", "--platform", "linux/arm64", name, copy) == f"{copy}\n"
    other = Corten(daemon, "pull-one")
    done = daemon.corten("image", "pull", "--no-unpack", copy, namespace="pull-one")
    assert (done.returncode, f"{copy} is made for linux/arm64, not for linux/amd64" in done.stderr) == (0, True)
    assert len(other.json("image", "inspect", copy)["layers"]) == 2  # type: ignore[index]
    assert other.json("images")[0]["digest"] == entries[1]["digest"]  # type: ignore[index]
    assert "linux/amd64, only for: linux/arm64" in other.fails("push", "--platform", "linux/amd64", copy)


def test_what_the_registry_has_not_is_not_to_be_found_in_the_store(daemon: Daemon, registry: str) -> None:
    said = Corten(daemon, "none").fails("image", "pull", f"{registry}/lib/none:v1")
    assert "not found there" in said and "corten images" not in said


def test_du_and_prune(daemon: Daemon, registry: str) -> None:
    corten, five, one = Corten(daemon, "space"), f"{registry}/lib/five:v1", f"{registry}/lib/one:v1"
    for name in (five, one):
        corten("image", "pull", name)
    corten("image", "tag", one, "again.example/one:1")
    found = corten.json("image", "du")
    assert isinstance(found, dict)
    sizes = {each["name"]: each for each in found["images"]}
    base = sizes[one]["content"] - sizes[one]["unique_content"]
    assert base > 900_000, "the base layer is shared"
    assert sizes[five]["content"] - sizes[five]["unique_content"] == base
    assert sizes[one] == {**sizes["again.example/one:1"], "name": one}
    assert (sizes[one]["unique_snapshots"], sizes[five]["unique_snapshots"] > 0) == (0, True)
    assert found["content"] == sizes[five]["content"] + sizes[one]["unique_content"]
    corten("run", "--name", "keeps", one, "true")
    assert corten("image", "prune", "--dry-run").split() == [five]
    assert "nobody is there to ask" in corten.fails("image", "prune")
    assert corten("image", "prune", "--force").split() == [five]
    assert set(corten("images", "-q").split()) == {one, "again.example/one:1"}
    corten("rm", "keeps")
    assert corten("image", "prune", "--force", "name~=again").split() == ["again.example/one:1"]
    corten("image", "prune", "--force")
    assert corten("content", "ls", "-q") == ""


@pytest.mark.parametrize("writable", [False, True])
def test_mount(daemon: Daemon, registry: str, tmp_path: Path, writable: bool) -> None:
    corten, name = Corten(daemon, "mount"), f"{registry}/lib/five:v1"
    corten("image", "pull", name)
    target = tmp_path / "here"
    assert "no folder" in corten.fails("image", "mount", name, str(target))
    target.mkdir()
    corten("image", "mount", *(["--rw"] if writable else []), name, str(target))
    try:
        assert (target / "data/changed").read_text() == "second"
        if writable:
            (target / "data/new").write_text("new")
        else:
            with pytest.raises(OSError, match="Read-only"):
                (target / "data/new").write_text("new")
        assert "an image is mounted there" in corten.fails("image", "mount", name, str(target))
        corten("image", "rm", "--sync", name)
        assert (target / "data/changed").read_text() == "second", "the lease keeps it"
    finally:
        corten("image", "unmount", str(target))
    assert list(target.iterdir()) == []
    assert corten.json("leases", "ls") == []
    assert "mounted nothing there" in corten.fails("image", "unmount", str(target))


def test_convert(daemon: Daemon, registry: str) -> None:
    corten, name = Corten(daemon, "convert"), f"{registry}/lib/five:v1"
    corten("image", "pull", name)
    made, digest = corten("image", "convert", "--compression", "zstd", name, "z.example/z:1").split()
    assert made == "z.example/z:1"
    assert digest.startswith("sha256:")
    assert corten("run", "--rm", made, "cat", "/data/changed") == "second"
    assert "say what to change" in corten.fails("image", "convert", name, "z.example/y:1")


async def test_referrers_are_listed_as_the_registry_has_them(daemon: Daemon) -> None:
    """Also before the image is here; what a registry writes is harmless on a terminal."""
    signature = {
        "mediaType": media_types.OCI_MANIFEST,
        "digest": "sha256:" + "a" * 64,
        "size": 1500,
        "artifactType": "application/vnd.example.signature",
        "annotations": {"by": "ann", "note": "\x1b[2J"},
    }
    listing = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [signature]}

    async def first(request: web.Request) -> web.Response | None:
        if request.path.endswith(f"/referrers/{IMAGE.target.digest}"):
            return web.json_response(listing)
        return None

    corten = Corten(daemon, "referrers")
    async with serving(first) as (address, _):
        for pulled in (False, True):
            if pulled:
                await asyncio.to_thread(corten, "image", "pull", "--no-unpack", f"{address}/x:tag")
            said = await asyncio.to_thread(corten, "image", "referrers", f"{address}/x:tag")
            header, line = said.splitlines()
            assert header.split() == ["ARTIFACT", "TYPE", "DIGEST", "SIZE", "ANNOTATIONS"]
            assert line.split()[:2] == [signature["artifactType"], signature["digest"]]
            assert "by=ann" in line and "\x1b" not in line
        record = await asyncio.to_thread(corten.json, "image", "referrers", f"{address}/x:tag")
        assert record == [{key: signature[key] for key in ("digest", "size", "annotations")} | {
            "artifact_type": signature["artifactType"], "media_type": signature["mediaType"],
        }]  # fmt: skip
        other = await asyncio.to_thread(corten.json, "image", "referrers", "--type", "other", f"{address}/x:tag")
        assert other == []
        missing = await asyncio.to_thread(corten.fails, "image", "referrers", f"{address}/x:none")
        assert f"{address}/x:none" in missing


def test_an_export_names_every_blob_that_is_absent(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    corten, name = Corten(daemon, "absent"), f"{registry}/lib/five:v1"
    corten("image", "pull", "--no-unpack", name)
    record = corten.json("image", "inspect", name)
    assert isinstance(record, dict)
    gone = [layer["digest"] for layer in record["layers"][1:3]]
    for digest in gone:
        corten("content", "rm", digest)
    said = corten.fails("image", "export", str(tmp_path / "a.tar"), name)
    assert "2 blobs are not in the content store" in said and "pull the image again" in said
    assert all(f"layer {digest} of manifest {record['digest']}" in said for digest in gone)
    assert not (tmp_path / "a.tar").exists() or (tmp_path / "a.tar").stat().st_size == 0
