"""Layouts of oras and regctl: what they have about an image is kept with it, and is no image."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from commands import Corten
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SIGNATURE = "application/vnd.example.signature"
REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


class Signed(images.Layout):
    """An image under the tag v1, and a signature of it, which is in the folder only."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        written = images.write_layout(folder.with_name(f"{folder.name}-image"), [images.layer_two], "v1")
        subprocess.run(["cp", "-r", f"{written}/.", folder], check=True)
        [self.image] = json.loads((folder / "index.json").read_text())["manifests"]
        self.signature = self.about(self.image)

    def about(self, subject: dict[str, Any]) -> dict[str, Any]:
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": SIGNATURE,
            "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(b"signed", "text/plain")],
            "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
        }
        return self.json(document, MANIFEST) | {"artifactType": SIGNATURE}

    def archive(self, *entries: dict[str, Any]) -> str:
        """The tar with these in its index.json."""
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        archive = self.folder.with_suffix(".tar")
        subprocess.run(["tar", "-C", self.folder, "-cf", archive, "."], check=True)
        return str(archive)


def referrers(corten: Corten, name: str) -> list[str]:
    """What is kept with an image, by its digest."""
    return [line.split()[-3] for line in corten("image", "tree", name).splitlines() if "referrer" in line]


def test_a_manifest_about_the_image_that_has_no_name(daemon: Daemon, tmp_path: Path) -> None:
    layout, corten = Signed(tmp_path / "oras"), Corten(daemon, "oras")
    archive = layout.archive(layout.image, layout.signature)
    name = "signed.example/image:2"
    assert corten("import", "--name", name, archive).split() == [name, layout.image["digest"]]
    assert referrers(corten, name) == [layout.signature["digest"]]


def test_a_list_under_a_tag(daemon: Daemon, tmp_path: Path) -> None:
    layout, corten = Signed(tmp_path / "regctl"), Corten(daemon, "regctl")
    listed = layout.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [layout.signature]}, INDEX)
    tag = layout.image["digest"].replace(":", "-")
    archive = layout.archive(layout.image, listed | {"annotations": {REF_NAME: tag}})
    said = corten("import", "--name", "listed.example/image", archive)
    assert said.split() == ["listed.example/image:v1", layout.image["digest"]]
    assert referrers(corten, "listed.example/image:v1") == [layout.signature["digest"]]


def test_what_is_named_or_about_nothing_here_is_an_image(daemon: Daemon, tmp_path: Path) -> None:
    layout, corten = Signed(tmp_path / "named"), Corten(daemon, "named")
    named = layout.signature | {"annotations": {REF_NAME: "signature"}}
    said = corten("import", "--name", "named.example/image", layout.archive(layout.image, named))
    assert {line.split()[0] for line in said.splitlines()} == {
        "named.example/image:v1",
        "named.example/image:signature",
    }
    absent = layout.about({"mediaType": MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 1})
    said = corten("import", "--name", "named.example/alone:1", layout.archive(absent))
    assert said.split() == ["named.example/alone:1", absent["digest"]]


def test_a_name_is_not_given_to_several_images(daemon: Daemon, tmp_path: Path) -> None:
    layout, corten = Signed(tmp_path / "several"), Corten(daemon, "several")
    other = layout.signature | {"annotations": {REF_NAME: "v2"}}
    archive = layout.archive(layout.image, other)
    said = corten.fails("import", "--name", "several.example/image:1", archive)
    assert "several images of the archive, with the tags 'v1', 'v2' (give a name without a tag" in said
    assert corten("images", "--format", "json").strip() == "[]"
    assert len(corten("import", "--name", "several.example/image", archive).splitlines()) == 2
