"""The local content store: the contract, containerd's layout, crashes, full disks."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten import digests
from corten.contracts.content import Vouching
from corten.errors import FailedPrecondition, NotFound, ResourceExhausted
from corten.testing.content import checks, fails, put
from corten_content._ingest import format_time, parse_time
from corten_content._local import LocalContent

CHECKS = checks(labels=False)


@pytest.fixture
def store(tmp_path: Path) -> LocalContent:
    return LocalContent(tmp_path / "store")


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_local_store_keeps_the_contract(name: str, store: LocalContent) -> None:
    CHECKS[name](store)


def test_layout_is_that_of_containerd(store: LocalContent, tmp_path: Path) -> None:
    digest = put(store, b"blob")
    blob = tmp_path / "store/blobs/sha256" / digest.removeprefix("sha256:")
    assert blob.read_bytes() == b"blob"
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    with store.writer("my ref", total=9) as writer:
        writer.write(b"abc")
    ingest = tmp_path / "store/ingest" / digests.of(b"my ref").removeprefix("sha256:")
    assert (ingest / "ref").read_text() == "my ref"
    assert (ingest / "data").read_bytes() == b"abc"
    assert (ingest / "total").read_text() == "9"
    assert (ingest / "startedat").read_text().endswith("Z")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (ingest, ingest.parent, blob.parent, blob.parent.parent)}
    assert modes == {0o700}


def test_a_blob_is_vouched_for_while_nobody_has_touched_it(store: LocalContent, tmp_path: Path) -> None:
    digest = put(store, b"blob")
    assert _vouched(store, digest)
    assert not _vouched(LocalContent(tmp_path / "store"), digest), "another process made it"
    blob = tmp_path / "store/blobs/sha256" / digest.removeprefix("sha256:")
    with blob.open("r+b") as file:
        file.write(b"BLOB")
    assert not _vouched(store, digest)


def test_a_blob_that_was_put_in_the_place_of_another_is_not_vouched_for(store: LocalContent, tmp_path: Path) -> None:
    digest = put(store, b"blob")
    blob = tmp_path / "store/blobs/sha256" / digest.removeprefix("sha256:")
    (tmp_path / "other").write_bytes(b"BLOB")
    (tmp_path / "other").rename(blob)
    assert not _vouched(store, digest)


def _vouched(store: LocalContent, digest: str) -> bool:
    with store.reader(digest) as reader:
        return isinstance(reader, Vouching) and reader.vouched()


def test_everything_is_found_again_after_a_restart(store: LocalContent, tmp_path: Path) -> None:
    digest = put(store, b"kept")
    with store.writer("begun", expected=digests.of(b"begun and ended")) as writer:
        writer.write(b"begun ")
        before = writer.status()
    again = LocalContent(tmp_path / "store")
    again.recover()
    assert again.info(digest).size == 4
    found = again.status("begun")
    assert (found.offset, found.expected, found.started_at) == (6, before.expected, before.started_at)
    with again.writer("begun") as writer:
        writer.write(b"and ended")
        assert writer.commit() == before.expected


@pytest.mark.parametrize("missing", ["ref", "data"])
def test_half_made_ingest_is_swept_and_can_be_begun_anew(missing: str, store: LocalContent, tmp_path: Path) -> None:
    with store.writer("half") as writer:
        writer.write(b"lost")
    ingest = next((tmp_path / "store/ingest").iterdir())
    (ingest / missing).unlink()
    fails(NotFound, store.status, "half")
    assert store.statuses() == []
    with store.writer("half") as writer:
        assert writer.status().offset == 0
    (ingest / missing).unlink()
    LocalContent(tmp_path / "store").recover()
    assert not ingest.exists()


@pytest.mark.parametrize("name", ["startedat", "updatedat", "total", "expected"])
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"nonsense"])
def test_damaged_notes_of_an_ingest_lose_no_data(name: str, damage: bytes, store: LocalContent, tmp_path: Path) -> None:
    with store.writer("damaged", total=4, expected=digests.of(b"data")) as writer:
        writer.write(b"da")
    (next((tmp_path / "store/ingest").iterdir()) / name).write_bytes(damage)
    assert store.status("damaged").offset == 2
    with store.writer("damaged") as writer:
        writer.write(b"ta")
        assert writer.commit(4) == digests.of(b"data")


def test_strangers_in_the_store_are_ignored(store: LocalContent, tmp_path: Path) -> None:
    digest = put(store, b"blob")
    (tmp_path / "store/blobs/sha256/README").write_text("not a blob")
    (tmp_path / "store/blobs/md5").mkdir()
    (tmp_path / "store/ingest/notes").mkdir()
    store.recover()
    assert [info.digest for info in store.walk()] == [digest]
    assert store.statuses() == []
    assert (tmp_path / "store/ingest/notes").exists()


def test_writers_are_bounded(tmp_path: Path) -> None:
    store = LocalContent(tmp_path, max_open_writers=2)
    with store.writer("a"), store.writer("b"):
        assert "max_open_writers" in fails(ResourceExhausted, store.writer, "c").message
    store.writer("c").close()


def test_no_descriptor_is_left_open(store: LocalContent) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    digest = put(store, b"blob")
    store.reader(digest).close()
    with store.writer("left") as writer:
        writer.write(b"x")
        fails(FailedPrecondition, writer.commit, 99)
    fails(NotFound, store.reader, digests.of(b"none"))
    assert open_files() == before


@pytest.mark.parametrize("text", ["2026-11-23T16:45:57.123456789Z", "2026-11-23T17:45:57.123456789+01:00"])
def test_times_are_those_of_go(text: str) -> None:
    assert parse_time(text) == 1795452357123456789
    assert parse_time("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert format_time(1795452357123456789) == b"2026-11-23T16:45:57.123456789Z"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.integration
def test_full_disk_leaves_the_ingest_to_be_resumed(small_disk: Path) -> None:
    store = LocalContent(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(600_000))
    data = os.urandom(700_000)
    with store.writer("big", total=len(data)) as writer:
        fails(ResourceExhausted, writer.write, data)
        reached = writer.status().offset
    assert 0 < reached < len(data)
    assert store.status("big").offset == reached
    filler.unlink()
    with store.writer("big", total=len(data)) as writer:
        assert writer.status().offset == reached
        writer.write(data[reached:])
        assert writer.commit(len(data)) == digests.of(data)
