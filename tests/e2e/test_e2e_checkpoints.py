"""Checkpoints of containers by an unmodified ctr, as far as no criu is needed: image, read-write layer, the record."""

import json
import shutil
from pathlib import Path

import pytest
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration

_SCRIPT = "[ ! -e /kept ] || touch /again; echo here > /kept; exec sleep 100"
"""Says whether it finds what one before it wrote."""
_RUNC = """#!/bin/sh
# runc, but for criu: a checkpoint is a file that says so.
case " $* " in *" checkpoint "*) ;; *) exec {runc} "$@" ;; esac
while [ "$1" != --image-path ]; do shift; done
mkdir -p "$2" && echo "no memory in here" > "$2/core.img"
"""


@pytest.fixture
def checkpoint(ctr: Ctr, pulled: str, tmp_path: Path) -> str:
    """The reference of a checkpoint with image, read-write layer and spec of a running container."""
    if shutil.which("criu") is None:
        pytest.skip("no criu on PATH: the shim refuses checkpoints")
    runc = tmp_path / "runc"
    runc.write_text(_RUNC.format(runc=shutil.which("runc")))
    runc.chmod(0o755)
    ctr("run", "-d", "--runc-binary", str(runc), "--env", "WORD=of the first", pulled, "first", "sh", "-c", _SCRIPT)
    wait_until(lambda: ctr.try_("tasks", "exec", "--exec-id", "e", "first", "ls", "/kept").returncode == 0, "/kept")
    ctr("containers", "checkpoint", "--image", "--rw", "--task", "first", "local/checkpoint:one")
    assert "RUNNING" in ctr("tasks", "ls"), "it goes on"
    ctr("tasks", "rm", "-f", "first")
    return "local/checkpoint:one"


def test_a_checkpoint_without_a_task_has_image_and_layer(ctr: Ctr, pulled: str) -> None:
    ctr("containers", "create", pulled, "idle", "true")
    ctr("containers", "checkpoint", "--image", "--rw", "idle", "local/checkpoint:idle")
    _, index = index_of(ctr, "local/checkpoint:idle")
    manifests = index["manifests"]
    assert isinstance(manifests, list)
    types = [each["mediaType"] for each in manifests]
    assert len([kind for kind in types if "manifest" in kind or "index" in kind]) == 1
    assert len([kind for kind in types if kind.startswith("application/vnd.oci.image.layer")]) == 1


def index_of(ctr: Ctr, reference: str) -> tuple[str, dict[str, object]]:
    row = next(line.split() for line in ctr("images", "ls").splitlines() if line.startswith(reference))
    digest = next(word for word in row if word.startswith("sha256:"))
    return digest, json.loads(ctr("content", "get", digest))


def test_a_checkpoint_holds_image_layer_and_record(ctr: Ctr, checkpoint: str) -> None:
    digest, index = index_of(ctr, checkpoint)
    manifests = index["manifests"]
    assert isinstance(manifests, list)
    types = [each["mediaType"] for each in manifests]
    assert any("manifest" in kind or "index" in kind for kind in types)
    assert any(kind.startswith("application/vnd.oci.image.layer") for kind in types)
    assert any("runtime.options" in kind for kind in types)
    labels = next(line for line in ctr("content", "ls").splitlines() if line.startswith(digest))
    assert "containerd.io/gc.ref.content" in labels
    ctr("containers", "rm", "first")
    listed = ctr("content", "ls", "-q").split()
    assert [each for each in manifests if each["digest"] not in listed] == []


def test_a_container_is_restored_with_its_layer_and_record(ctr: Ctr, checkpoint: str) -> None:
    original = json.loads(ctr("containers", "info", "first"))
    ctr("containers", "rm", "first")
    ctr("containers", "restore", "--rw", "second", checkpoint)
    wait_until(lambda: "RUNNING" in ctr("tasks", "ls"), "the restored task runs")
    found = "the restored task has found its layer"
    wait_until(lambda: ctr.try_("tasks", "exec", "--exec-id", "e", "second", "ls", "/again").returncode == 0, found)
    restored = json.loads(ctr("containers", "info", "second"))
    assert restored["Spec"]["process"]["args"] == original["Spec"]["process"]["args"]
    assert "WORD=of the first" in restored["Spec"]["process"]["env"]
    assert (restored["Image"], restored["Runtime"]) == (original["Image"], original["Runtime"])
    ctr("tasks", "rm", "-f", "second")


def test_a_checkpoint_travels_as_an_archive(ctr: Ctr, checkpoint: str, tmp_path: Path) -> None:
    digest, index = index_of(ctr, checkpoint)
    archive = f"{tmp_path}/checkpoint.tar"
    ctr("images", "export", "--skip-manifest-json", "--all-platforms", archive, checkpoint)
    ctr("containers", "rm", "first")
    ctr("images", "rm", "--sync", checkpoint)  # the image that it refers to by name stays
    assert digest not in ctr("content", "ls")
    ctr("images", "import", "--all-platforms", "--no-unpack", archive)
    again, imported = index_of(ctr, checkpoint)
    assert (again, imported) == (digest, index)
    row = next(line for line in ctr("content", "ls").splitlines() if line.startswith(digest))
    assert "containerd.io/gc.ref.content" in row
    ctr("containers", "restore", "--rw", "third", checkpoint)
    wait_until(lambda: "RUNNING" in ctr("tasks", "ls"), "the restored task runs")
    found = "the restored task has found its layer"
    wait_until(lambda: ctr.try_("tasks", "exec", "--exec-id", "e", "third", "ls", "/again").returncode == 0, found)
    ctr("tasks", "rm", "-f", "third")
