"""skopeo and umoci read what Corten exports, and Corten what they make: the same digests both ways."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


def ran(*argv: object) -> str:
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def corten(daemon: Daemon, namespace: str, *args: object) -> str:
    done = daemon.corten(*map(str, args), namespace=namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")
def test_umoci(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    name, archive, layout = f"{registry}/lib/five:v1", tmp_path / "five.tar", tmp_path / "layout"
    digest = corten(daemon, "umoci", "pull", name).split()[1]
    corten(daemon, "umoci", "export", archive, name)
    layout.mkdir()
    ran("tar", "-C", layout, "-xf", archive)
    ran("umoci", "unpack", "--image", f"{layout}:v1", tmp_path / "bundle")
    rootfs = tmp_path / "bundle/rootfs"
    assert (rootfs / "data/changed").read_text() == "second"
    assert not (rootfs / "data/gone").exists()
    assert sorted(path.name for path in (rootfs / "data/opaque").iterdir()) == ["new"]
    assert json.loads((layout / "index.json").read_text())["manifests"][0]["digest"] == digest
    # And back, with a layer that umoci made.
    (rootfs / "data/changed").write_text("third")
    ran("umoci", "repack", "--image", f"{layout}:v2", tmp_path / "bundle")
    made = {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"]
        for each in json.loads((layout / "index.json").read_text())["manifests"]
    }
    second = tmp_path / "second"
    ran("skopeo", "copy", "-q", f"oci:{layout}:v2", f"oci:{second}:v2")
    ran("tar", "-C", second, "-czf", tmp_path / "second.tar.gz", ".")
    said = corten(daemon, "umoci", "import", "--name", "umoci.example/five", tmp_path / "second.tar.gz")
    assert said == f"umoci.example/five:v2 {made['v2']}"
    assert corten(daemon, "umoci", "run", "--rm", "umoci.example/five:v2", "cat", "/data/changed") == "third"


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_skopeo(daemon: Daemon, registry: str, tmp_path: Path, form: str) -> None:
    name, copy = f"{registry}/lib/five:v1", f"{registry}/{form}/five:v1"
    corten(daemon, form, "pull", name)
    corten(daemon, form, "export", tmp_path / "out.tar", name)
    ran("skopeo", "copy", "-q", "--dest-tls-verify=false", f"{form}:{tmp_path}/out.tar", f"docker://{copy}")
    there = corten(daemon, f"{form}-back", "pull", copy).split()[1]
    assert corten(daemon, f"{form}-back", "run", "--rm", copy, "cat", "/data/changed") == "second"
    ran("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{copy}", f"{form}:{tmp_path}/in.tar:{copy}")
    listed = corten(daemon, f"{form}-in", "import", "--name", copy, tmp_path / "in.tar")
    assert listed.split()[0] == copy
    if form == "oci-archive":  # docker's archives name no manifest: one is made
        assert listed.split()[1] == there
    assert corten(daemon, f"{form}-in", "run", "--rm", copy, "cat", "/data/changed") == "second"


def test_exports_of_several_images_hold_each_blob_once(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/lib/five:v1"
    corten(daemon, "several", "pull", name)
    corten(daemon, "several", "image", "convert", "--compression", "zstd", name, "z.example/five:z")
    corten(daemon, "several", "image", "tag", name, "t.example/five:t")
    corten(daemon, "several", "export", tmp_path / "all.tar", name, "z.example/five:z", "t.example/five:t")
    with tarfile.open(tmp_path / "all.tar") as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    listed = corten(daemon, "several-in", "import", tmp_path / "all.tar").splitlines()
    assert {line.split()[0] for line in listed} == {name, "z.example/five:z", "t.example/five:t"}
    before = json.loads(corten(daemon, "several", "images", "--format", "json"))
    assert set(listed) == {f"{each['name']} {each['digest']}" for each in before}


def test_an_artifact_comes_and_goes_whole(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    """What is no container image is stored, passed on and exported all the same; nothing is unpacked."""
    layout = images.Layout(tmp_path / "artifact")
    config = layout.blob(b"{}", "application/vnd.example.config.v1+json")
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "artifactType": "application/vnd.example"}
    target = layout.json({**document, "config": config, "layers": [layout.blob(b"hello", "text/plain")]}, media_type)
    named = {**target, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    name, copy = f"{registry}/lib/artifact:v1", f"{registry}/copy/artifact:v1"
    argv = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]
    ran(*argv, f"oci:{layout.folder}:latest", f"docker://{name}")
    assert corten(daemon, "artifact", "pull", name) == f"{name} {target['digest']}"
    assert json.loads(corten(daemon, "artifact", "snapshots", "ls", "--format", "json")) == []
    assert "whole" in corten(daemon, "artifact", "image", "verify", name)
    corten(daemon, "artifact", "push", name, copy)
    corten(daemon, "artifact", "export", tmp_path / "artifact.tar", name)
    assert corten(daemon, "artifact-in", "import", tmp_path / "artifact.tar") == f"{name} {target['digest']}"
    assert corten(daemon, "artifact-in", "pull", copy) == f"{copy} {target['digest']}"
    done = daemon.corten("run", "--rm", name, "true", namespace="artifact")
    assert done.returncode == 125
    assert "it is no container image" in done.stderr
