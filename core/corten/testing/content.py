"""The conformance suite of `corten.contracts.content`: plain functions, to be run against any content store.

    @pytest.mark.parametrize("name", sorted(checks(labels=False)))
    def test_contract(name, tmp_path):
        checks(labels=False)[name](MyStore(tmp_path))

Each check is given an empty store and raises AssertionError when the contract is broken. `MemoryContent` is a store
that passes them all.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from corten import digests
from corten.contracts.content import ContentInfo, ContentStore
from corten.errors import (
    AlreadyExists,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unavailable,
    Unimplemented,
)
from corten.testing.memory_content import MemoryContent

__all__ = ["Check", "MemoryContent", "checks", "fails", "put"]

Check = Callable[[ContentStore], None]

ABSENT = digests.of(b"never written")


def put(store: ContentStore, data: bytes, ref: str = "put", algorithm: str = "sha256") -> str:
    """Write a blob; returns its digest."""
    digest = digests.of(data, algorithm)
    with store.writer(ref, total=len(data), expected=digest) as writer:
        writer.write(data)
        writer.commit(len(data), digest)
    return digest


def fails(error: type[CortenError], call: Callable[..., object], *args: object, **kwargs: object) -> CortenError:
    """Assert that the call raises `error`; returns what was raised."""
    try:
        result = call(*args, **kwargs)
    except error as raised:
        assert raised.message, "an error must say something"
        return raised
    raise AssertionError(f"expected {error.__name__}, got {result!r}")


def checks(*, labels: bool) -> Mapping[str, Check]:
    """All checks by name; `labels` tells whether the store keeps labels or leaves them to the metadata plugin."""
    chosen = [*_CHECKS, *(_LABELLED if labels else _UNLABELLED)]
    return {check.__name__.removeprefix("_"): check for check in chosen}


def _round_trip(store: ContentStore) -> None:
    digest = put(store, b"hello")
    info = store.info(digest)
    assert (info.digest, info.size) == (digest, 5)
    assert info.created_at > 0
    with store.reader(digest) as reader:
        assert reader.size == 5
        assert reader.read_at(0, 100) == b"hello"
    fails(NotFound, store.status, "put")


def _empty_blob(store: ContentStore) -> None:
    digest = put(store, b"")
    with store.reader(digest) as reader:
        assert (reader.size, reader.read_at(0, 10)) == (0, b"")


def _sha512(store: ContentStore) -> None:
    digest = put(store, b"long digest", algorithm="sha512")
    assert store.info(digest).digest == digest
    with store.writer("late") as writer:
        writer.write(b"decided at commit")
        late = digests.of(b"decided at commit", "sha512")
        assert writer.commit(0, late) == late
    assert [info.digest for info in store.walk()] == sorted([digest, late])


def _ranges(store: ContentStore) -> None:
    with store.reader(put(store, bytes(range(256)))) as reader:
        assert reader.read_at(10, 3) == b"\x0a\x0b\x0c"
        assert reader.read_at(250, 100) == bytes(range(250, 256))
        assert reader.read_at(256, 1) == b""
        fails(OutOfRange, reader.read_at, 257, 1)
        fails(OutOfRange, reader.read_at, -1, 1)


def _file_of_reader(store: ContentStore) -> None:
    with store.reader(put(store, b"plain file")) as reader:
        fd = reader.fileno()
        if fd != -1:
            with open(os.dup(fd), "rb") as file:
                file.seek(0)
                assert file.read() == b"plain file"


def _reader_outlives_delete(store: ContentStore) -> None:
    digest = put(store, b"still here")
    with store.reader(digest) as reader:
        store.delete(digest)
        fails(NotFound, store.info, digest)
        assert reader.read_at(6, 4) == b"here"


def _absent_and_malformed_digests(store: ContentStore) -> None:
    for call in (store.info, store.reader, store.delete):
        fails(NotFound, call, ABSENT)
        for digest in ("", "sha256:", "sha256:../../etc/passwd", "sha256:" + "g" * 64, "md5:" + "0" * 32, ABSENT[:-1]):
            fails(InvalidArgument, call, digest)


def _one_writer_per_ref(store: ContentStore) -> None:
    with store.writer("busy") as writer:
        assert "busy" in fails(Unavailable, store.writer, "busy").message
        fails(Unavailable, store.abort, "busy")
        writer.write(b"undisturbed")
        assert writer.commit() == digests.of(b"undisturbed")
    store.writer("busy").close()


def _bad_refs(store: ContentStore) -> None:
    fails(InvalidArgument, store.writer, "")
    fails(InvalidArgument, store.writer, "x", expected="nonsense")
    fails(InvalidArgument, store.writer, "\ud800")
    fails(NotFound, store.status, "x")
    fails(NotFound, store.abort, "x")


def _odd_refs(store: ContentStore) -> None:
    for ref in ("../../escape", "a/b", "é€", "new\nline", "x" * 32768, ".", "-f"):
        put(store, ref.encode(), ref=ref)
        with store.writer(ref) as writer:
            writer.write(b"left")
        assert store.status(ref).ref == ref
        store.abort(ref)


def _ingest_status(store: ContentStore) -> None:
    with store.writer("layer", total=6, expected=ABSENT) as writer:
        assert writer.write(b"abc") == 3
        for status in (writer.status(), store.status("layer")):
            assert (status.ref, status.offset, status.total, status.expected) == ("layer", 3, 6, ABSENT)
            assert 0 < status.started_at <= status.updated_at


def _status_list(store: ContentStore) -> None:
    for ref in ("b", "a"):
        store.writer(ref).close()
    assert sorted(status.ref for status in store.statuses()) == ["a", "b"]
    assert [status.ref for status in store.statuses(["ref==a"])] == ["a"]
    assert store.statuses(["ref==c"]) == []
    fails(InvalidArgument, store.statuses, ["ref="])


def _resume(store: ContentStore) -> None:
    with store.writer("layer", total=10) as writer:
        writer.write(b"01234")
    with store.writer("layer", total=10, expected=digests.of(b"0123456789")) as writer:
        assert writer.status().offset == 5
        assert writer.digest() == digests.of(b"01234")
        writer.write(b"56789")
        assert writer.commit(10) == digests.of(b"0123456789")


def _resume_by_sha512(store: ContentStore) -> None:
    digest = digests.of(b"first second", "sha512")
    with store.writer("layer", expected=digest) as writer:
        writer.write(b"first ")
    with store.writer("layer", expected=digest) as writer:
        writer.write(b"second")
        assert writer.digest() == digest
        assert writer.commit(12, digest) == digest


def _another_total(store: ContentStore) -> None:
    with store.writer("layer", total=10) as writer:
        writer.write(b"01234")
    with store.writer("layer") as writer:
        assert (writer.status().total, writer.status().offset) == (10, 5)
    with store.writer("layer", total=3) as writer:
        assert (writer.status().total, writer.status().offset, writer.digest()) == (3, 0, digests.of(b""))
        writer.write(b"012")
        assert writer.commit(3) == digests.of(b"012")


def _truncate(store: ContentStore) -> None:
    with store.writer("layer") as writer:
        writer.write(b"wrong bytes")
        fails(Unimplemented, writer.truncate, 3)
        writer.truncate(0)
        assert (writer.status().offset, writer.digest()) == (0, digests.of(b""))
        writer.write(b"right")
        assert writer.commit(5) == digests.of(b"right")


def _abort(store: ContentStore) -> None:
    with store.writer("layer") as writer:
        writer.write(b"gone")
    store.abort("layer")
    fails(NotFound, store.status, "layer")
    fails(NotFound, store.abort, "layer")
    with store.writer("layer") as writer:
        assert writer.status().offset == 0


def _wrong_size(store: ContentStore) -> None:
    with store.writer("layer") as writer:
        writer.write(b"four")
        fails(FailedPrecondition, writer.commit, 5)
    assert store.status("layer").offset == 4
    assert list(store.walk()) == []


def _wrong_digest(store: ContentStore) -> None:
    for expected in (ABSENT, digests.of(b"never written", "sha512")):
        with store.writer("layer") as writer:
            assert digests.of(b"four" if writer.status().offset else b"") == writer.digest()
            writer.truncate(0)
            writer.write(b"four")
            fails(FailedPrecondition, writer.commit, 4, expected)
        fails(NotFound, store.info, expected)
    assert store.status("layer").offset == 4


def _malformed_commit_digest(store: ContentStore) -> None:
    with store.writer("layer") as writer:
        fails(InvalidArgument, writer.commit, 0, "sha256:short")


def _exists_at_open(store: ContentStore) -> None:
    digest = put(store, b"twice")
    fails(AlreadyExists, store.writer, "again", expected=digest)
    fails(NotFound, store.status, "again")


def _exists_at_commit(store: ContentStore) -> None:
    digest = put(store, b"twice")
    with store.writer("again") as writer:
        writer.write(b"twice")
        fails(AlreadyExists, writer.commit, 5, digest)
    fails(NotFound, store.status, "again")
    assert store.info(digest).size == 5


def _closed_writer(store: ContentStore) -> None:
    writer = store.writer("layer")
    writer.close()
    writer.close()
    fails(FailedPrecondition, writer.write, b"late")
    fails(FailedPrecondition, writer.truncate, 0)
    fails(FailedPrecondition, writer.commit)
    store.abort("layer")


def _committed_writer(store: ContentStore) -> None:
    writer = store.writer("layer")
    writer.write(b"x")
    writer.commit()
    fails(FailedPrecondition, writer.commit)
    writer.close()
    store.writer("layer").close()


def _walk_in_order(store: ContentStore) -> None:
    written = sorted(put(store, b"%d" % number) for number in range(20))
    assert [info.digest for info in store.walk()] == written
    chosen = [f"digest=={written[3]}", f"digest=={written[7]}"]
    assert [info.digest for info in store.walk(chosen)] == [written[3], written[7]]
    assert len(list(store.walk([r"digest~=/^sha256:/"]))) == 20
    fails(InvalidArgument, lambda: list(store.walk(["digest=x"])))


def _walk_while_deleting(store: ContentStore) -> None:
    for number in range(10):
        put(store, b"%d" % number)
    seen = []
    for info in store.walk():
        store.delete(info.digest)
        seen.append(info.digest)
    assert len(seen) == 10
    assert list(store.walk()) == []


def _many_refs_at_once(store: ContentStore) -> None:
    def write(number: int) -> str:
        data = b"%d" % number * 1000
        with store.writer(f"ref-{number}", total=len(data)) as writer:
            for start in range(0, len(data), 700):
                writer.write(data[start : start + 700])
            return writer.commit(len(data), digests.of(data))

    with ThreadPoolExecutor(8) as pool:
        written = set(pool.map(write, range(32)))
    assert {info.digest for info in store.walk()} == written
    assert store.statuses() == []


def _one_blob_from_many_writers(store: ContentStore) -> None:
    digest = digests.of(b"same")
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        with store.writer(f"ref-{number}") as writer:
            writer.write(b"same")
            barrier.wait()
            try:
                return writer.commit(4, digest) == digest
            except AlreadyExists:
                return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(8))) == 1
    assert store.info(digest).size == 4
    assert store.statuses() == []


def _one_ref_wanted_by_many(store: ContentStore) -> None:
    barrier = threading.Barrier(8)
    leave = threading.Event()

    def open_it(_: int) -> bool:
        barrier.wait()
        try:
            writer = store.writer("one")
        except Unavailable:
            return False
        leave.wait(0.2)
        writer.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(open_it, range(8))) >= 1
    assert store.status("one").offset == 0


def _parallel_readers(store: ContentStore) -> None:
    data = bytes(range(256)) * 400
    with store.reader(put(store, data)) as reader, ThreadPoolExecutor(8) as pool:
        offsets = range(0, len(data), 997)
        parts = pool.map(lambda offset: reader.read_at(offset, 997), offsets)
        assert b"".join(parts) == data


def _labels_kept(store: ContentStore) -> None:
    with store.writer("layer") as writer:
        writer.write(b"labelled")
        digest = writer.commit(0, "", {"a": "1", "b/c.d": "2"})
    assert store.info(digest).labels == {"a": "1", "b/c.d": "2"}
    assert [info.digest for info in store.walk(['labels."b/c.d"==2'])] == [digest]
    assert list(store.walk(["labels.none"])) == []


def _labels_updated(store: ContentStore) -> None:
    digest = put(store, b"labelled")
    assert store.update(ContentInfo(digest, labels={"a": "1", "b": "2"})).labels == {"a": "1", "b": "2"}
    assert store.update(ContentInfo(digest, labels={"a": "3", "b": "4"}), ["labels.a"]).labels == {"a": "3", "b": "2"}
    assert store.update(ContentInfo(digest), ["labels.b"]).labels == {"a": "3"}
    assert store.update(ContentInfo(digest, labels={"c": "5"}), ["labels"]).labels == {"c": "5"}
    assert store.info(digest).labels == {"c": "5"}


def _label_updates_refused(store: ContentStore) -> None:
    digest = put(store, b"labelled")
    fails(NotFound, store.update, ContentInfo(ABSENT))
    fails(InvalidArgument, store.update, ContentInfo(digest, size=3), ["size"])
    fails(InvalidArgument, store.update, ContentInfo(digest, labels={"k": "v" * 4096}))
    assert store.info(digest).labels == {}


def _no_labels(store: ContentStore) -> None:
    digest = put(store, b"unlabelled")
    fails(Unimplemented, store.update, ContentInfo(digest, labels={"a": "1"}))
    fails(NotFound, store.update, ContentInfo(ABSENT))
    assert store.info(digest).labels == {}


_CHECKS: tuple[Check, ...] = (
    _round_trip, _empty_blob, _sha512, _ranges, _file_of_reader, _reader_outlives_delete,
    _absent_and_malformed_digests, _one_writer_per_ref, _bad_refs, _odd_refs, _ingest_status, _status_list, _resume,
    _resume_by_sha512, _another_total, _truncate, _abort, _wrong_size, _wrong_digest, _malformed_commit_digest,
    _exists_at_open, _exists_at_commit, _closed_writer, _committed_writer, _walk_in_order, _walk_while_deleting,
    _many_refs_at_once, _one_blob_from_many_writers, _one_ref_wanted_by_many, _parallel_readers,
)  # fmt: skip
_LABELLED: tuple[Check, ...] = (_labels_kept, _labels_updated, _label_updates_refused)
_UNLABELLED: tuple[Check, ...] = (_no_labels,)
