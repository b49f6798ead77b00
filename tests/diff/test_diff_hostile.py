"""Bombs, noise, liars and deaths: each ends in one clear error, and nothing is left behind."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from corten.contracts.content import ContentReader
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.errors import CortenError, DataLoss, Internal, InvalidArgument, ResourceExhausted
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import GZIP, PLAIN, Layer, Stack, compressed, empty_files, layer, stored
from corten.zygote.client import Zygote
from corten_differs.exchange import Limits
from corten_differs.extraction import split
from corten_differs.tar_header import Entry, parse_pax
from corten_differs.tar_stream import TarStream
from corten_differs.tar_writer import Member, header
from corten_differs.walking import WalkingDiffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def bind(path: Path) -> list[Mount]:
    return [Mount("bind", str(path), options=("rw", "rbind"))]


class Lying(MemoryContent):
    """A store whose disk has gone bad."""

    def reader(self, digest: str) -> ContentReader:
        real = super().reader(digest)
        data = bytearray(real.read_at(0, real.size))
        data[len(data) // 2] ^= 0xFF
        return super().reader(stored(self, bytes(data)).digest) if not self._lied(digest) else real

    def _lied(self, digest: str) -> bool:
        seen = getattr(self, "_seen", None)
        self._seen = digest
        return seen is not None


class Slow:
    """A reader that gives a little now and then, so that a worker is caught in the middle."""

    def __init__(self, reader: ContentReader, begun: threading.Event) -> None:
        self._reader, self._begun = reader, begun
        self.size = reader.size

    def read_at(self, offset: int, length: int) -> bytes:
        if offset:
            self._begun.set()
            time.sleep(0.05)
        return self._reader.read_at(offset, min(length, 64 << 10))

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SlowContent(MemoryContent):
    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def reader(self, digest: str) -> ContentReader:
        return Slow(super().reader(digest), self.begun)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("limits", "error", "word"),
    [
        (Limits(max_bytes=10 << 20), ResourceExhausted, "max_unpacked_bytes"),
        (Limits(max_ratio=20, free=1 << 20), InvalidArgument, "max_ratio"),
    ],
)
def test_bombs(
    limits: Limits, error: type[CortenError], word: str, workers: Zygote, memory_backed: Path, tmp_path: Path
) -> None:
    content = MemoryContent()
    blob = stored(content, compressed(layer(lambda made: made.add("bomb", bytes(64 << 20))), GZIP), GZIP)
    differ = WalkingDiffer(workers, tmp_path / "mount", limits=limits)
    with pytest.raises(error, match=word) as raised:
        differ.apply(blob, bind(memory_backed), content)
    assert "'bomb'" in raised.value.message
    assert (memory_backed / "bomb").stat().st_size < 32 << 20


@pytest.mark.integration
def test_absolute_names_where_they_are_allowed(workers: Zygote, memory_backed: Path, tmp_path: Path) -> None:
    content = MemoryContent()
    differ = WalkingDiffer(workers, tmp_path / "mount", absolute_names=True)
    differ.apply(stored(content, layer(lambda made: made.add("/etc/inside"))), bind(memory_backed), content)
    assert (memory_backed / "etc/inside").exists()


@pytest.mark.integration
def test_a_bad_disk_is_data_loss(differ: WalkingDiffer, memory_backed: Path) -> None:
    content = Lying()
    blob = stored(content, layer(lambda made: made.add("f", os.urandom(100_000))))
    with pytest.raises(DataLoss, match=blob.digest):
        differ.apply(blob, bind(memory_backed), content)


@pytest.mark.integration
def test_a_killed_worker_is_one_clear_error(workers: Zygote, memory_backed: Path, tmp_path: Path) -> None:
    content = SlowContent()
    blob = stored(content, layer(lambda made: made.add("f", os.urandom(8 << 20))))
    before = {path.name for path in Path("/proc").iterdir() if path.name.isdigit()}
    differ = WalkingDiffer(workers, tmp_path / "mount")

    def kill() -> None:
        content.begun.wait(10)
        for path in Path(f"/proc/{workers.pid}/task/{workers.pid}").glob("children"):
            for pid in path.read_text().split():
                if pid not in before:
                    os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Internal, match="signal 9"):
        differ.apply(blob, bind(memory_backed), content)
    killer.join()


@pytest.mark.integration
def test_a_failed_compare_leaves_no_ingest(differ: WalkingDiffer, memory_backed: Path) -> None:
    content = MemoryContent()
    with pytest.raises(CortenError, match="compare"):
        differ.compare([], [Mount("bind", "/not/there", options=("ro", "rbind"))], content)
    assert content.statuses() == [] and list(content.walk()) == []
    assert differ.compare([], bind(memory_backed), content).media_type == GZIP


@given(st.binary(max_size=4000))
def test_noise_is_refused_or_read(noise: bytes) -> None:
    stream = TarStream(iter([noise[:700], noise[700:]]))
    try:
        while stream.next_entry() is not None:
            stream.skip()
    except CortenError:
        pass


@given(st.integers(0, 511), st.binary(min_size=1, max_size=20), st.integers(1, 3000))
def test_changed_archives_are_refused_or_read(place: int, change: bytes, size: int) -> None:
    data = bytearray(layer(lambda made: made.add("name", bytes(100), pax_headers={"comment": "x"})))
    data[place : place + len(change)] = change
    stream = TarStream(bytes(data[i : i + size]) for i in range(0, len(data), size))
    try:
        while stream.next_entry() is not None:
            stream.skip()
    except CortenError:
        pass


@given(st.binary(max_size=200))
def test_names_never_lead_out(name: bytes) -> None:
    try:
        head, base = split(name)
    except CortenError:
        return
    assert b".." not in head.split(b"/") and base not in (b".", b"..")
    assert not head.startswith(b"/") and b"/" not in base
    assert bool(base) or not head


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="=\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
        st.binary(max_size=200),
        max_size=5,
    )
)
def test_pax_records_come_back(xattrs: dict[str, bytes]) -> None:
    made = header(Member(b"n", b"0", xattrs=xattrs))
    entry = TarStream(iter([made + bytes(1024)])).next_entry()
    assert entry is not None and (entry.xattrs or {}) == xattrs


@given(
    st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=4),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 32),
    st.integers(0, (1 << 32) - 2),
    st.integers(0, 0o7777),
)
def test_members_come_back(parts: list[bytes], size: int, mtime: int, uid: int, mode: int) -> None:
    name = b"/".join(part.replace(b"/", b"").replace(b"\0", b"") or b"x" for part in parts)
    made = header(Member(name, b"0", mode, uid, uid, size, mtime, major=0))
    entry = TarStream(iter([made])).next_entry()
    assert entry is not None
    found = (entry.name, entry.size, entry.mtime, entry.uid, entry.gid, entry.mode)
    assert found == (name, size, mtime * 10**9, uid, uid, mode)


@pytest.mark.parametrize(
    "records",
    [
        b"5 a=b\n",
        b"x a=b\n",
        b"6 ab=\n1",
        b"99999999999999999999999 a=b\n",
        b"6 =ab\n",
        b"-6 a=b\n",
        b"0 a=b\n",
    ],
)
def test_malformed_pax_records(records: bytes) -> None:
    with pytest.raises(InvalidArgument, match="malformed"):
        parse_pax(records)


def test_a_header_with_a_wrong_checksum() -> None:
    block = bytearray(header(Member(b"n", b"0")))
    block[0] ^= 1
    with pytest.raises(InvalidArgument, match="checksum"):
        Entry(bytes(block))


def test_a_descriptor_says_what_it_is_of(differ: WalkingDiffer) -> None:
    content = MemoryContent()
    with pytest.raises(InvalidArgument, match=r"apply layer sha256:.*no mounts"):
        differ.apply(stored(content, layer(lambda made: made.add("f"))), [], content)
    assert Descriptor(PLAIN, "", 0).annotations == {}


PARTS = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "link", ".wh.a", ".wh..wh..opq", "c" * 300]), min_size=1, max_size=4
)
NAMES = st.builds(lambda start, parts: start + "/".join(parts), st.sampled_from(["", "./", "/"]), PARTS)
KINDS = st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"V"])
ENTRIES = st.lists(st.tuples(NAMES, KINDS, NAMES, st.integers(0, 0o7777), st.integers(0, 1 << 34)), max_size=12)


@pytest.mark.integration
@pytest.mark.parametrize("overlay", [False, True])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=ENTRIES)
def test_any_entries_are_unpacked_inside_or_refused(
    entries: list[tuple[str, bytes, str, int, int]], overlay: bool, differ: WalkingDiffer, memory_backed: Path
) -> None:
    root = Path(tempfile.mkdtemp(dir=memory_backed))
    stack = Stack(differ, MemoryContent(), root / "stack", overlay)
    stack.apply(layer(empty_files("a/a", "b", "link")))

    def fill(made: Layer) -> None:
        for name, kind, link, mode, uid in entries:
            made.add(name, kind=kind, linkname=link, mode=mode, uid=uid, devmajor=1, devminor=mode)

    try:
        stack.apply(layer(fill))
    except CortenError as error:
        assert not isinstance(error, Internal), error.message
        assert error.message.startswith("apply layer sha256:")
    stack.names()
    assert sorted(os.listdir(root)) == ["stack"]
    assert sorted(os.listdir(root / "stack")) == (["0", "1"] if overlay else ["0"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("uid", 1 << 32), ("gid", (1 << 32) - 1), ("uid", 10**19), ("size", 1 << 62)],
)
def test_impossible_numbers(field: str, value: int) -> None:
    made = header(Member(b"n", b"0", **{field: value}))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=str(value)):
        TarStream(iter([made])).next_entry()
