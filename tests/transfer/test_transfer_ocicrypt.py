"""Layers that skopeo encrypts: pulled and imported by the daemon, decrypted by a decoder as containerd's CRI has it.

The decoder is that of `tests/ocicrypt_decoder.py`, or the `ctd-decoder` of imgcrypt that CORTEN_CTD_DECODER names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import images
import ocicrypt_decoder
import peers
import pytest
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
DECODER = os.environ.get("CORTEN_CTD_DECODER", "")
LAYER = "application/vnd.oci.image.layer.v1.tar"


def ran(*argv: object) -> str:
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def corten(daemon: Daemon, *args: object) -> str:
    done = daemon.corten(*map(str, args))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ours` (the keys of the node), and public keys: the node has the private one of `a`, not of `b`."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "ours").mkdir()
    for name, private in (("a", folder / "ours/a.pem"), ("b", folder / "b.pem")):
        ran("openssl", "genrsa", "-out", private, "2048")
        ran("openssl", "rsa", "-in", private, "-pubout", "-out", folder / f"{name}.pub")
    return folder


@pytest.fixture(scope="module")
def daemon(keys: Path) -> Iterator[Daemon]:
    own = [] if DECODER else [ocicrypt_decoder.__file__]
    processors = {
        f"io.containerd.ocicrypt.decoder.v1.tar{dot}": {
            "accepts": [f"{LAYER}{plus}+encrypted"],
            "returns": f"{LAYER}{plus}",
            "path": DECODER or sys.executable,
            "args": [*own, "--decryption-keys-path", str(keys / "ours")],
        }
        for dot, plus in (("", ""), (".gzip", "+gzip"))
    }
    with running_daemon(config=json.dumps({"version": 4, "stream_processors": processors})) as running:
        yield running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[str]:
    """The five-layer image, all encrypted for `a`; some of it for `a`; all for `b`."""
    folder = tmp_path_factory.mktemp("registry")
    plain = f"oci:{images.write_layout(folder / 'five')}:latest"
    with peers.registry(folder / "registry") as address:
        for name, key, more in (("all", "a", ()), ("some", "a", ("--encrypt-layer", "1")), ("foreign", "b", ())):
            argv = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--encryption-key", f"jwe:{keys}/{key}.pub"]
            ran(*argv, *more, plain, f"docker://{address}/lib/{name}:v1")
        yield address


@pytest.mark.parametrize("name", ["all", "some"])
def test_the_daemon_has_them_decrypted_by_the_keys_of_the_node(daemon: Daemon, registry: str, name: str) -> None:
    reference = f"{registry}/lib/{name}:v1"
    corten(daemon, "pull", reference)
    assert corten(daemon, "run", "--rm", reference, "cat", "/data/changed", "/data/kept") == "secondkept"


def test_a_client_that_unpacks_later_has_it_decrypted_too(daemon: Daemon, registry: str) -> None:
    reference = f"{registry}/lib/some:v1"
    assert daemon.corten("pull", "--no-unpack", reference, namespace="later").returncode == 0
    done = daemon.corten("run", "--rm", reference, "cat", "/data/changed", namespace="later")
    assert done.stdout == "second", done.stderr


def test_who_has_not_the_key_is_told_so(daemon: Daemon, registry: str) -> None:
    done = daemon.corten("pull", f"{registry}/lib/foreign:v1", namespace="foreign")  # where nothing is unpacked yet
    assert done.returncode
    assert "stream processor io.containerd.ocicrypt.decoder.v1.tar.gzip failed" in done.stderr
    assert "no suitable key" in done.stderr


def test_an_encrypted_image_goes_through_archives_as_it_is(
    daemon: Daemon, registry: str, keys: Path, tmp_path: Path
) -> None:
    reference, archive = f"{registry}/lib/all:v1", tmp_path / "out.tar"
    digest = corten(daemon, "pull", reference).split()[1]
    corten(daemon, "export", archive, reference)
    assert corten(daemon, "import", archive) == f"{reference} {digest}"
    ran(
        "skopeo", "copy", "-q", "--decryption-key", keys / "ours/a.pem", f"oci-archive:{archive}", f"oci:{tmp_path}/d:d"
    )
    original = json.loads(ran("skopeo", "inspect", "--config", f"oci:{tmp_path}/d:d"))
    assert len(original["rootfs"]["diff_ids"]) == 5
    assert not [each for each in layer_types(tmp_path / "d") if "encrypted" in each]


def layer_types(layout: Path) -> list[str]:
    """The media types of the one image's layers."""
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"].partition(":")[2]
    return [each["mediaType"] for each in json.loads((layout / "blobs/sha256" / digest).read_text())["layers"]]
