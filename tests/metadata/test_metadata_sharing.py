"""Blobs and namespaces: who sees what, who must bring the bytes, and what is left on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten import digests
from corten.contracts.objects import Namespace, Resource
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, FailedPrecondition, NotFound
from corten_metadata.content import SHAREABLE
from metadata.doubles import NS, Bench

OTHER = Scope("other")
DATA = b"layer"
DIGEST = digests.of(DATA)


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "isolated", shared=False)
    yield made
    made.store.close()


def test_blob_is_visible_in_its_own_namespace_only(bench: Bench) -> None:
    bench.put(DATA, labels={"a": "1"})
    assert bench.blobs().info(DIGEST).labels == {"a": "1"}
    for call in (bench.blobs(OTHER).info, bench.blobs(OTHER).reader, bench.blobs(OTHER).delete):
        with pytest.raises(NotFound):
            call(DIGEST)
    assert list(bench.blobs(OTHER).walk()) == []


def test_shared_blob_needs_no_bytes(bench: Bench) -> None:
    bench.put(DATA, labels={"a": "1"})
    with bench.blobs(OTHER).writer("r", total=len(DATA), expected=DIGEST) as writer:
        status = writer.status()
        assert (status.ref, status.offset, status.total, status.expected) == ("r", 5, 5, DIGEST)
        assert writer.digest() == DIGEST
        assert bench.kept_blobs(OTHER) == set(), "not before the commit"
        assert writer.commit(len(DATA), DIGEST, {"b": "2"}) == DIGEST
    assert bench.blobs(OTHER).info(DIGEST).labels == {"b": "2"}
    with bench.blobs(OTHER).reader(DIGEST) as reader:
        assert reader.read_at(0, 5) == DATA
    bench.blobs().delete(DIGEST)
    bench.store.images(OTHER)
    bench.image("keep", DIGEST, OTHER)
    bench.store.collect()
    assert bench.content.data(DIGEST) == DATA
    bench.store.images(OTHER).delete("keep")
    bench.store.collect()
    with pytest.raises(NotFound):
        bench.content.info(DIGEST)


def test_shared_blob_with_other_expectations_is_refused(bench: Bench) -> None:
    bench.put(DATA)
    with bench.blobs(OTHER).writer("r", expected=DIGEST) as writer:
        with pytest.raises(FailedPrecondition):
            writer.commit(4, DIGEST)
        with pytest.raises(FailedPrecondition):
            writer.commit(5, digests.of(b"x"))
        writer.commit(5)


def test_writing_to_a_shared_blob_goes_on_from_its_bytes(bench: Bench) -> None:
    bench.put(DATA)
    with bench.blobs(OTHER).writer("r", expected=DIGEST) as writer:
        writer.write(b"")
        writer.write(b" and more")
        assert writer.status().offset == len(DATA) + 9
        assert writer.commit() == digests.of(DATA + b" and more")
    with bench.blobs(OTHER).writer("s", expected=DIGEST) as writer:
        writer.truncate(0)
        writer.write(b"new")
        assert writer.commit() == digests.of(b"new")


def test_ingest_keeps_the_blob_it_expects(bench: Bench) -> None:
    bench.put(DATA)
    writer = bench.blobs(OTHER).writer("r", expected=DIGEST)
    bench.blobs().delete(DIGEST)
    bench.store.collect()
    writer.commit(5, DIGEST)
    assert bench.content.data(DIGEST) == DATA
    assert bench.kept_blobs(OTHER) == {DIGEST}


def test_shared_ingest_that_was_left_keeps_it_until_it_is_aborted(bench: Bench) -> None:
    bench.put(DATA)
    bench.blobs(OTHER).writer("r", expected=DIGEST).close()
    bench.blobs().delete(DIGEST)
    bench.store.collect()
    assert bench.content.data(DIGEST) == DATA
    bench.blobs(OTHER).abort("r")
    bench.store.collect()
    bench.reopen()
    bench.store.collect()
    with pytest.raises(NotFound):
        bench.content.info(DIGEST)


def test_isolated_blob_needs_its_bytes(isolated: Bench) -> None:
    isolated.put(DATA)
    with isolated.blobs(OTHER).writer("r", total=5, expected=DIGEST) as writer:
        assert writer.status().offset == 0
        with pytest.raises(FailedPrecondition):
            writer.commit(5, DIGEST)
        with isolated.blobs(OTHER).writer("s", total=5, expected=DIGEST) as again:
            again.write(DATA)
            again.commit(5, DIGEST)
    assert isolated.kept_blobs(OTHER) == {DIGEST}


def test_shareable_namespace_shares_even_when_isolated(isolated: Bench) -> None:
    isolated.store.namespaces.create(Namespace("ns", {SHAREABLE: "true"}))
    isolated.put(DATA)
    with isolated.blobs(OTHER).writer("r", expected=DIGEST) as writer:
        assert writer.status().offset == 5
        writer.commit(5, DIGEST)
    third = isolated.store.content(Scope("third"))
    with third.writer("r", expected=DIGEST) as writer:
        assert writer.status().offset == 5
    isolated.store.namespaces.update(Namespace("ns", {SHAREABLE: "no"}))
    with isolated.store.content(Scope("fourth")).writer("r", expected=DIGEST) as writer:
        assert writer.status().offset == 0


def test_wrong_size_shares_nothing(bench: Bench) -> None:
    bench.put(DATA)
    with bench.blobs(OTHER).writer("r", total=6, expected=DIGEST) as writer:
        assert writer.status().offset == 0


def test_same_ref_in_two_namespaces_are_two_ingests(bench: Bench) -> None:
    with bench.blobs().writer("r") as one, bench.blobs(OTHER).writer("r") as two:
        one.write(b"one")
        two.write(b"two!")
        assert bench.blobs().status("r").offset == 3
        assert bench.blobs(OTHER).status("r").offset == 4
        assert [each.ref for each in bench.blobs().statuses()] == ["r"]
        one.commit()
    assert bench.kept_blobs(OTHER) == set()
    assert bench.blobs(OTHER).status("r").offset == 4


def test_blob_that_is_there_joins_the_lease(bench: Bench) -> None:
    bench.put(DATA)
    bench.store.leases.create("ns", "l")
    with pytest.raises(AlreadyExists):
        bench.blobs(Scope("ns", "l")).writer("r", expected=DIGEST)
    assert bench.store.leases.resources("ns", "l") == [Resource(DIGEST, "content")]
    bench.store.collect()
    assert bench.kept_blobs() == {DIGEST}


def test_lease_holds_the_ingest_and_then_the_blob(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    leased = Scope("ns", "l")
    with bench.blobs(leased).writer("r") as writer:
        writer.write(DATA)
        assert bench.store.leases.resources("ns", "l") == [Resource("r", "ingests")]
        writer.commit()
    assert bench.store.leases.resources("ns", "l") == [Resource(DIGEST, "content")]
    with pytest.raises(NotFound):
        bench.blobs(Scope("ns", "none")).writer("r2")
    with pytest.raises(NotFound):
        bench.blobs().status("r2")


def test_bytes_lost_by_accident_can_be_written_again(bench: Bench) -> None:
    bench.put(DATA)
    bench.content.delete(DIGEST)
    with bench.blobs().writer("r", total=5, expected=DIGEST) as writer:
        writer.write(DATA)
        with pytest.raises(AlreadyExists):
            writer.commit(5, DIGEST)
    assert bench.content.data(DIGEST) == DATA
    assert bench.blobs().statuses() == []


def test_crash_between_backend_and_record_leaves_only_what_gc_removes(bench: Bench, tmp_path: Path) -> None:
    bench.blobs().writer("half").close()
    bench.store.close()
    shutil.copytree(bench.folder, tmp_path / "before")
    bench = Bench(bench.folder, content=bench.content)
    bench.put(DATA)
    with bench.blobs().writer("later") as writer:
        writer.write(b"x")
    bench.store.close()
    recovered = Bench(tmp_path / "before", content=bench.content)
    assert recovered.blobs().status("half").offset == 0
    recovered.store.collect()
    assert [info.digest for info in bench.content.walk()] == []
    assert len(bench.content.statuses()) == 1
    recovered.content.abort(recovered.content.statuses()[0].ref)
    recovered.reopen()
    recovered.store.collect()
    with pytest.raises(NotFound):
        recovered.store.content(NS).abort("half")
    recovered.store.close()
