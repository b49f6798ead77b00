"""Images for tests: layers by tarfile, an OCI layout, pushed with skopeo; independent of Corten's own code."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Fill = Callable[[tarfile.TarFile], None]
EPOCH = 1_700_000_000
BUSYBOX = Path("/bin/busybox")
APPLETS = (
    *("sh", "cat", "echo", "ls", "sleep", "true", "false", "env", "id", "stat", "touch", "mkdir", "rm", "ln", "pwd"),
    *("readlink", "seq", "head", "wc", "grep", "kill", "ps", "stty", "test", "dd", "md5sum", "hostname", "yes"),
)


def entry(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, **fields: Any) -> tarfile.TarInfo:
    """A tar header with a fixed time."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, EPOCH
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def file(tar: tarfile.TarFile, name: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> None:
    """Add a regular file."""
    tar.addfile(entry(name, mode=mode, size=len(data), **fields), io.BytesIO(data))


def directory(tar: tarfile.TarFile, name: str, mode: int = 0o755, **fields: Any) -> None:
    """Add a directory."""
    tar.addfile(entry(name, tarfile.DIRTYPE, mode, **fields))


def link(tar: tarfile.TarFile, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> None:
    """Add a symbolic link, or a hard link with `kind=LNKTYPE`."""
    tar.addfile(entry(name, kind, 0o777, linkname=target))


def base_layer(tar: tarfile.TarFile) -> None:
    """A root file system around busybox."""
    for name in ("bin", "etc", "proc", "sys", "dev", "root", "home", "data"):
        directory(tar, name)
    directory(tar, "tmp", 0o1777)
    file(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
    for applet in APPLETS:
        link(tar, f"bin/{applet}", "busybox")
    file(tar, "bin/talk", b"#!/bin/sh\nsleep 1\necho before\nsleep 2\necho after\n", 0o755)
    file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n")
    file(tar, "etc/group", b"root:x:0:\nuser:x:1000:\n")


def layer_two(tar: tarfile.TarFile) -> None:
    """Files that later layers change."""
    directory(tar, "data/opaque")
    file(tar, "data/opaque/old", b"old")
    file(tar, "data/gone", b"gone")
    file(tar, "data/changed", b"first")
    file(tar, "data/kept", b"kept")


def layer_three(tar: tarfile.TarFile) -> None:
    """Hard links, symbolic links, extended attributes, owners and modes."""
    file(tar, "data/hard1", b"hard")
    link(tar, "data/hard2", "data/hard1", tarfile.LNKTYPE)
    link(tar, "data/soft", "kept")
    file(tar, "data/owned", b"owned", 0o4755, uid=1000, gid=1000)
    file(tar, "data/attr", b"attr", pax_headers={"SCHILY.xattr.user.corten": "yes"})
    tar.addfile(entry("data/fifo", tarfile.FIFOTYPE))


def layer_four(tar: tarfile.TarFile) -> None:
    """Whiteouts: one file, and a directory made opaque."""
    file(tar, "data/.wh.gone")
    file(tar, "data/opaque/.wh..wh..opq")
    file(tar, "data/opaque/new", b"new")


def layer_five(tar: tarfile.TarFile) -> None:
    """A replacement, and a directory where nothing was."""
    file(tar, "data/changed", b"second")
    directory(tar, "data/deep/er")
    file(tar, "data/deep/er/file", b"deep")


FIVE: Sequence[Fill] = (base_layer, layer_two, layer_three, layer_four, layer_five)
CONFIG: dict[str, Any] = {
    "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
    "Cmd": ["sh"],
    "WorkingDir": "/",
}


def tar_of(fill: Fill) -> bytes:
    """The bytes of a layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    return buffer.getvalue()


class Layout:
    """An OCI image layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store bytes; their descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, document: dict[str, Any], media_type: str) -> dict[str, Any]:
        return self.blob(json.dumps(document).encode(), media_type)


def write_layout(
    folder: Path, layers: Sequence[Fill] = FIVE, name: str = "latest", config: dict[str, Any] | None = None
) -> Path:
    """A layout with one gzip image of these layers under the ref `name`."""
    layout = Layout(folder)
    tars = [tar_of(fill) for fill in layers]
    blobs = [layout.blob(gzip.compress(t, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for t in tars]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {**CONFIG, **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(t).hexdigest()}" for t in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.json(document, "application/vnd.oci.image.config.v1+json"),
        "layers": blobs,
    }
    target = layout.json(manifest, "application/vnd.oci.image.manifest.v1+json")
    target["annotations"] = {"org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))
    return folder


def push(layout: Path, reference: str, name: str = "latest", *, everything: bool = False) -> None:
    """Push an image of a layout to a registry over plain http; `everything`: all that an index has."""
    argv = [
        "skopeo",
        "copy",
        "-q",
        *(["--all"] if everything else []),
        "--dest-tls-verify=false",
        f"oci:{layout}:{name}",
        f"docker://{reference}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
