"""Synthetic images for measuring: written once, pushed to a registry on loopback."""

import gzip
import hashlib
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
MEDIA = "application/vnd.oci.image"


def layout(folder: Path, layers: list[bytes], diff_ids: list[str], command: tuple[str, ...] = ("sh",)) -> None:
    """An OCI layout of gzip layers that are made already."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"{MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [blob(layer, "layer.v1.tar+gzip") for layer in layers],
    }
    target = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    target["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, 1_700_000_000
    tar.addfile(info, io.BytesIO(data))


def base() -> bytes:
    """A layer with busybox and what a container needs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in ("sh", "true", "sleep", "echo", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def bulk(seed: int, files: int, size: int) -> bytes:
    """A layer of `files` files of about `size` bytes, half of it compressible, in folders of 100."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for n in range(files):
            length = rng.randint(size // 2, size * 3 // 2)
            data = rng.randbytes(length // 2) + b"the quick brown fox " * (length // 40)
            add(tar, f"usr/share/l{seed}/d{n // 100:04}/f{n:06}", data)
    return buffer.getvalue()


def found(seed: int, files: int, size: int) -> bytes:
    """As `bulk`, with bytes of the files of this machine's /usr: programs, libraries, text, as images have them."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    pieces = _pieces(seed, size)
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for n in range(files):
            data = next(pieces)[: rng.randint(size // 2, size * 3 // 2)]
            add(tar, f"usr/share/r{seed}/d{n // 100:04}/f{n:06}", data)
    return buffer.getvalue()


def _pieces(seed: int, size: int) -> Iterator[bytes]:
    """Pieces of 1.5 times `size`, each of other bytes, put together of many files where those are small."""
    paths = sorted(path for path in Path("/usr").rglob("*") if path.is_file() and not path.is_symlink())
    random.Random(seed).shuffle(paths)
    length, rest = size * 3 // 2, b""
    for path in paths:
        data = rest + path.read_bytes()
        whole = len(data) // length * length
        yield from (data[at : at + length] for at in range(0, whole, length))
        rest = data[whole:]


Made = Callable[[int, int, int], bytes]
"""`made(seed, files, size)`: a layer of files of about `size` bytes."""


def push(folder: Path, reference: str, tars: list[bytes], command: tuple[str, ...] = ("sh",)) -> None:
    """Compress, lay out and push."""
    diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
    layout(folder, [gzip.compress(tar, 4, mtime=0) for tar in tars], diff_ids, command)
    argv = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{folder}:latest", f"docker://{reference}"]
    subprocess.run(argv, check=True)


def push_small(folder: Path, host: str) -> str:
    """The image that containers are started from."""
    reference = f"{host}/bench/small:latest"
    push(folder / "small", reference, [base()])
    return reference


def push_pause(folder: Path, host: str) -> str:
    """An image whose command does nothing, for ever."""
    reference = f"{host}/bench/pause:latest"
    push(folder / "pause", reference, [base()], ("/bin/sleep", "1000000"))
    return reference


def push_big(folder: Path, host: str, files: int, megabytes: int, made: Made = bulk) -> str:
    """`megabytes` in `files` files and six layers."""
    name = f"big-{made.__name__}"
    each = files // 5
    tars = [base(), *(made(n, each, megabytes * 1024 * 1024 // files) for n in range(1, 6))]
    push(folder / name, f"{host}/bench/{name}:latest", tars)
    return f"{host}/bench/{name}:latest"


def push_one(folder: Path, host: str, megabytes: int, made: Made = bulk) -> str:
    """One layer of that size besides the base, in large files."""
    name = f"one-{made.__name__}"
    push(folder / name, f"{host}/bench/{name}:latest", [base(), made(9, megabytes // 16, 16 << 20)])
    return f"{host}/bench/{name}:latest"
