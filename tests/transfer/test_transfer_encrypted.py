"""Encrypted layers: stream processors between the blob and the unpacking, by containerd's protocol."""

import asyncio
import gzip
import hashlib
import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from corten.client.client import Client
from corten.client.image import resolve
from corten.client.pull import PullOptions, pull
from corten.contracts.descriptor import Descriptor
from corten.errors import FailedPrecondition, Unimplemented
from daemon import Daemon, running_daemon
from google.protobuf.any_pb2 import Any

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ENCRYPTED = f"{GZIP}+encrypted"
TWICE = f"{GZIP}+encrypted+twice"
OTHER = f"{GZIP}+other"
KEY = "0123456789abcdef" * 4
CIPHER = ["openssl", "enc", "-aes-256-ctr", "-K", KEY, "-iv", "0" * 32]


def encrypted(data: bytes) -> bytes:
    return subprocess.run(CIPHER, input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose second layer is encrypted, and one whose layer is of a type that a program fails on."""
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        for name, media_type in (("secret", ENCRYPTED), ("broken", f"{GZIP}+broken"), ("none", f"{GZIP}+none")):
            write(folder / name, media_type)
            argv = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]
            subprocess.run([*argv, f"oci:{folder}/{name}:latest", f"docker://{address}/lib/{name}:v1"], check=True)
        yield address


def write(folder: Path, media_type: str) -> None:
    layout = images.Layout(folder)
    tars = [images.tar_of(images.base_layer), images.tar_of(images.layer_two)]
    plain, secret = (gzip.compress(each, mtime=0) for each in tars)
    layers = [layout.blob(plain, GZIP), layout.blob(encrypted(secret), media_type)]
    diff_ids = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in tars]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = layout.json(
        {"architecture": "amd64", "os": "linux", "config": images.CONFIG, "rootfs": rootfs},
        "application/vnd.oci.image.config.v1+json",
    )
    media = "application/vnd.oci.image.manifest.v1+json"
    target = layout.json({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers}, media)
    target["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("programs")
    decrypt = " ".join(["exec", *CIPHER, "-d"])
    programs = {
        # Takes its key from the payload if there is one: the last 64 bytes of the Any.
        "decrypt": f"""
            [ "$STREAM_PROCESSOR_MEDIATYPE" = "$WANTED" ] || {{ echo "given $STREAM_PROCESSOR_MEDIATYPE" >&2; exit 9; }}
            if [ -e /proc/self/fd/3 ]; then key=$(tail -c 64 <&3); else key={KEY}; fi
            exec openssl enc -d -aes-256-ctr -K "$key" -iv {"0" * 32}
        """,
        "again": decrypt,
        "broken": "head -c 10 >/dev/null; echo 'no key for this' >&2; exit 3",
        "pass": "exec cat",
    }
    for name, script in programs.items():
        (folder / name).write_text("#!/bin/sh\n" + textwrap.dedent(script))
        (folder / name).chmod(0o755)

    def program(name: str, accepts: str, returns: str, *env: str) -> dict[str, object]:
        return {"accepts": [accepts], "returns": returns, "path": str(folder / name), "env": list(env)}

    processors = {
        "example.decrypt": program("decrypt", ENCRYPTED, GZIP, f"WANTED={ENCRYPTED}"),
        "example.again": program("again", TWICE, ENCRYPTED),
        "example.broken": program("broken", f"{GZIP}+broken", GZIP),
        "example.loop": program("pass", f"{GZIP}+loop", f"{GZIP}+loop"),
        "example.missing": {"accepts": [f"{GZIP}+missing"], "returns": GZIP, "path": "/nowhere/program"},
    }
    with running_daemon(config=json.dumps({"version": 4, "stream_processors": processors})) as running:
        yield running


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_an_encrypted_layer_is_pulled_and_run(daemon: Daemon, registry: str, snapshotter: str) -> None:
    name = f"{registry}/lib/secret:v1"
    async with Client(daemon.address, "default") as client:
        await pull(client, name, PullOptions(snapshotter=snapshotter))
        found = await resolve(client, await client.images.get(name))
        assert found.manifest.layers[1].media_type == ENCRYPTED
        assert (await client.snapshots(snapshotter).stat(found.top)).kind == "committed"
    ran = await asyncio.to_thread(
        daemon.corten, "run", "--rm", "--snapshotter", snapshotter, name, "cat", "/data/changed"
    )
    assert ran.stdout == "first", ran.stderr


async def test_a_program_that_fails_says_why_and_leaves_nothing(daemon: Daemon, registry: str) -> None:
    async with Client(daemon.address, "broken") as client:
        with pytest.raises(FailedPrecondition, match=r"stream processor example.broken failed \(exit code 3\): no key"):
            await pull(client, f"{registry}/lib/broken:v1")
        with pytest.raises(Unimplemented, match="is not a layer"):
            await pull(client, f"{registry}/lib/none:v1")
        assert await client.images.list() == []
        keys = [key.name async for key in client.snapshots("overlayfs").walk()]
        assert [key for key in keys if key.startswith("extract-")] == []


async def applied(client: Client, data: bytes, media_type: str, **payloads: bytes) -> Descriptor:
    """What comes of a blob of that type, unpacked into a snapshot of its own."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    layer = Descriptor(media_type, digest, len(data))
    async with client.leased() as leased:
        await leased.content.put(f"put-{digest}", data, layer)
        mounts = await leased.snapshots("native").prepare("applied")
        try:
            named = {f"example.{id}": payload for id, payload in payloads.items()}
            return await leased.diff.apply(layer, mounts, payloads=named)
        finally:
            await leased.snapshots("native").remove("applied")


def secret(data: bytes, times: int = 1) -> bytes:
    """CTR undoes itself: the second time with another counter, so each time is one of its own here."""
    for _ in range(times):
        data = encrypted(data)
    return data


async def test_payloads_reach_their_program_and_programs_are_chained(daemon: Daemon) -> None:
    tar = images.tar_of(images.layer_two)
    diff_id = f"sha256:{hashlib.sha256(tar).hexdigest()}"
    plain = gzip.compress(tar, mtime=0)
    key = Any(type_url="example.Key", value=KEY.encode()).SerializeToString()
    wrong = Any(type_url="example.Key", value=KEY[::-1].encode()).SerializeToString()
    async with Client(daemon.address, "apply") as client:
        done = await applied(client, secret(plain), ENCRYPTED, decrypt=key)
        assert (done.digest, done.size) == (diff_id, len(tar))
        with pytest.raises(Exception, match=r"apply layer"):
            await applied(client, secret(plain), ENCRYPTED, decrypt=wrong)
        assert (await applied(client, secret(plain, 2), TWICE)).digest == diff_id
        with pytest.raises(Exception, match="more than 8 one after the other"):
            await applied(client, plain, f"{GZIP}+loop")
        with pytest.raises(FailedPrecondition, match="cannot run /nowhere/program: No such file"):
            await applied(client, plain, f"{GZIP}+missing")
    peers.wait_until(lambda: not peers.processes_with("/programs0/"), "no program is left")


async def test_large_payloads_and_many_layers_leave_no_descriptor(daemon: Daemon) -> None:
    tar = images.tar_of(images.layer_two)
    plain = gzip.compress(tar, mtime=0)
    large = Any(type_url="x", value=b"x" * 300_000 + KEY.encode()).SerializeToString()
    fds = Path(f"/proc/{daemon.pid}/fd")
    async with Client(daemon.address, "many") as client:
        await applied(client, secret(plain), ENCRYPTED, decrypt=large)
        before = len(list(fds.iterdir()))
        for _ in range(5):
            await applied(client, secret(plain), ENCRYPTED, decrypt=large)
            with pytest.raises(FailedPrecondition):
                await applied(client, plain, f"{GZIP}+broken")
        assert len(list(fds.iterdir())) <= before + 2


def test_a_section_that_lacks_something_is_an_error(tmp_path: Path) -> None:
    from daemon import CORTEND

    config = tmp_path / "config.yaml"
    config.write_text("version: 4\nstream_processors:\n  half:\n    accepts: [a]\n    path: /bin/true\n")
    done = subprocess.run(
        [str(CORTEND), "--config", str(config), "config", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "stream_processors.half: it has no returns" in done.stdout + done.stderr
