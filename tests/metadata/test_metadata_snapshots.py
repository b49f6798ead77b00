"""A namespace's snapshots: keys of its own, labels, leases, the target protocol, and failures in between."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corten.contracts.objects import Resource
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Kind, SnapshotInfo
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from corten.plugin.model import SkipPlugin
from corten.testing.snapshots import MemorySnapshotter, checks
from corten_metadata.metadata import LmdbMetadata
from metadata.doubles import NS, TARGET, Bench

OTHER = Scope("other")


def test_life_of_a_snapshot(bench: Bench) -> None:
    snapshots = bench.snapshots()
    mounts = snapshots.prepare("work", labels={"a": "1", "containerd.io/snapshot/x": "2", "empty": ""})
    assert mounts == snapshots.mounts("work")
    info = snapshots.stat("work")
    assert (info.name, info.kind, info.parent) == ("work", Kind.ACTIVE, "")
    assert info.labels == {"a": "1", "containerd.io/snapshot/x": "2"}
    [inner] = bench.snapshotter.snapshots.values()
    assert inner.labels == {"containerd.io/snapshot/x": "2"}, "the backend sees what is inherited"
    snapshots.commit("base", "work", {"b": "3"})
    with pytest.raises(NotFound):
        snapshots.stat("work")
    assert snapshots.stat("base").kind is Kind.COMMITTED
    assert snapshots.stat("base").labels == {"b": "3"}
    snapshots.view("look", "base")
    assert snapshots.stat("look").parent == "base"
    assert snapshots.usage("look").inodes == 1
    with pytest.raises(FailedPrecondition, match="1 children"):
        snapshots.remove("base")
    snapshots.remove("look")
    snapshots.remove("base")
    assert list(snapshots.walk()) == []
    bench.store.collect()
    assert bench.snapshotter.snapshots == {}
    assert bench.snapshotter.cleanups


def test_errors(bench: Bench) -> None:
    snapshots = bench.snapshots()
    bench.committed("base")
    snapshots.prepare("work", "base")
    existing: list[Callable[[], object]] = [
        lambda: snapshots.prepare("work"),
        lambda: snapshots.prepare("base"),
        lambda: snapshots.view("work"),
        lambda: snapshots.commit("base", "work"),
    ]
    for call in existing:
        with pytest.raises(AlreadyExists):
            call()
    missing: list[Callable[[], object]] = [
        lambda: snapshots.prepare("new", "nothing"),
        lambda: snapshots.commit("new", "nothing"),
        lambda: snapshots.remove("nothing"),
        lambda: snapshots.stat("nothing"),
        lambda: snapshots.mounts("nothing"),
        lambda: snapshots.usage("nothing"),
        lambda: snapshots.update(SnapshotInfo("nothing")),
    ]
    for call in missing:
        with pytest.raises(NotFound):
            call()
    with pytest.raises(FailedPrecondition):
        snapshots.prepare("new", "work")
    with pytest.raises(InvalidArgument):
        snapshots.prepare("")
    with pytest.raises(InvalidArgument):
        snapshots.prepare("new", labels={"k": "v" * 4096})
    assert bench.kept_snapshots() == {"base", "work"}
    bench.store.collect()
    assert bench.kept_snapshots() == set()
    assert bench.snapshotter.snapshots == {}, "nothing of what failed is left in the backend"


def test_namespaces_do_not_meet(bench: Bench) -> None:
    bench.committed("base")
    bench.committed("base", "", OTHER)
    assert len(bench.snapshotter.snapshots) == 2
    with pytest.raises(NotFound):
        bench.snapshots(Scope("third")).prepare("work", "base")
    bench.snapshots(OTHER).remove("base")
    assert bench.kept_snapshots() == {"base"}


def test_labels_are_updated_and_handed_on(bench: Bench) -> None:
    bench.committed("base")
    snapshots = bench.snapshots()
    snapshots.update(SnapshotInfo("base", labels={"a": "1", "containerd.io/snapshot/x": "2"}))
    assert [each.labels for each in bench.snapshotter.snapshots.values()] == [{"containerd.io/snapshot/x": "2"}]
    assert snapshots.update(SnapshotInfo("base", labels={"a": "3"}), ["labels.a"]).labels["a"] == "3"
    with pytest.raises(InvalidArgument):
        snapshots.update(SnapshotInfo("base"), ["parent"])
    assert snapshots.stat("base").labels == {"a": "3", "containerd.io/snapshot/x": "2"}


def test_walk_in_order_with_filters(bench: Bench) -> None:
    for name in ("c", "a", "b"):
        bench.committed(name)
    bench.snapshots().view("v", "a", {"x": "1"})
    names = [each.name for each in bench.snapshots().walk()]
    assert names == ["a", "b", "c", "v"]
    for filters, wanted in (
        (["kind==view"], ["v"]),
        (["parent==a"], ["v"]),
        (["name==b", "labels.x==1"], ["b", "v"]),
        (["kind==committed,name~=[bc]"], ["b", "c"]),
    ):
        assert [each.name for each in bench.snapshots().walk(filters)] == wanted


@pytest.mark.parametrize("length", [512, 4096, 32768])
def test_long_keys(bench: Bench, length: int) -> None:
    one, two = "k" * (length - 1) + "1", "k" * (length - 1) + "2"
    snapshots = bench.snapshots()
    snapshots.prepare(two)
    snapshots.prepare(one)
    assert [each.name for each in snapshots.walk()] == [one, two]
    snapshots.commit("base", one)
    snapshots.prepare(one, "base")
    with pytest.raises(FailedPrecondition):
        snapshots.remove("base")
    snapshots.remove(one)
    snapshots.remove("base")
    assert bench.kept_snapshots() == {two}


def test_lease_follows_from_key_to_name(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    snapshots = bench.snapshots(Scope("ns", "l"))
    snapshots.prepare("work")
    assert bench.store.leases.resources("ns", "l") == [Resource("work", "snapshots/memory")]
    snapshots.commit("base", "work")
    assert bench.store.leases.resources("ns", "l") == [Resource("base", "snapshots/memory")]
    bench.store.collect()
    assert bench.kept_snapshots() == {"base"}
    snapshots.remove("base")
    assert bench.store.leases.resources("ns", "l") == []


def test_lease_that_does_not_exist_stops_it_before_the_backend(bench: Bench) -> None:
    bench.snapshots().prepare("work")
    nowhere = bench.snapshots(Scope("ns", "none"))
    refused: list[Callable[[], object]] = [lambda: nowhere.prepare("new"), lambda: nowhere.commit("base", "work")]
    for call in refused:
        with pytest.raises(NotFound, match="lease 'none'"):
            call()
    assert [each.kind for each in bench.snapshotter.snapshots.values()] == [Kind.ACTIVE]
    assert bench.kept_snapshots() == {"work"}


def test_existing_key_joins_the_lease(bench: Bench) -> None:
    bench.committed("base")
    bench.store.leases.create("ns", "l")
    leased = bench.snapshots(Scope("ns", "l"))
    with pytest.raises(AlreadyExists):
        leased.prepare("new", labels={TARGET: "base"})
    with pytest.raises(AlreadyExists):
        leased.commit("base", "whatever")
    assert bench.store.leases.resources("ns", "l") == [Resource("base", "snapshots/memory")]


def test_target_that_the_backend_has_becomes_the_namespaces_own(bench: Bench) -> None:
    bench.snapshotter.remote.add("chain-2")
    bench.committed("chain-1")
    for scope in (NS, NS):
        with pytest.raises(AlreadyExists):
            bench.snapshots(scope).prepare("extract", "chain-1", {TARGET: "chain-2", "a": "1"})
    info = bench.snapshots().stat("chain-2")
    assert (info.kind, info.parent, info.labels["a"]) == (Kind.COMMITTED, "chain-1", "1")
    assert bench.kept_snapshots() == {"chain-1", "chain-2"}
    bench.snapshots().prepare("run", "chain-2")


def test_remote_snapshot_stays_while_one_namespace_uses_it(bench: Bench) -> None:
    bench.snapshotter.remote.add("chain")
    for scope in (NS, OTHER):
        with pytest.raises(AlreadyExists):
            bench.snapshots(scope).prepare("extract", labels={TARGET: "chain"})
    bench.snapshots().remove("chain")
    bench.snapshots(OTHER).prepare("run", "chain", {"containerd.io/gc.root": "1"})
    bench.store.collect()
    assert bench.kept_snapshots(OTHER) == {"chain", "run"}
    bench.snapshots(OTHER).remove("run")
    bench.snapshots(OTHER).remove("chain")
    bench.store.collect()
    assert bench.snapshotter.snapshots == {}


def test_parent_given_at_commit(bench: Bench) -> None:
    snapshots = bench.snapshots()
    for key in ("extract-1", "extract-2"):
        snapshots.prepare(key)
    with pytest.raises(NotFound):
        snapshots.commit("layer-2", "extract-2", parent="layer-1")
    snapshots.commit("layer-1", "extract-1")
    snapshots.commit("layer-2", "extract-2", {"containerd.io/gc.root": "x"}, parent="layer-1")
    assert snapshots.stat("layer-2").parent == "layer-1"
    inner = {info.name.rpartition("/")[2]: info.parent for info in bench.snapshotter.walk()}
    assert inner["layer-2"].endswith("/layer-1")
    with pytest.raises(FailedPrecondition, match="1 children"):
        snapshots.remove("layer-1")
    bench.store.collect()
    assert bench.kept_snapshots() == {"layer-1", "layer-2"}


def test_same_key_at_once_is_made_once(bench: Bench) -> None:
    def make(number: int) -> bool:
        try:
            bench.snapshots().prepare("work")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1
    assert len(bench.snapshotter.snapshots) == 1


def test_what_cannot_be_recorded_is_removed_from_the_backend(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    bench.snapshotter.may_go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(bench.snapshots(Scope("ns", "l")).prepare, "work")
        assert bench.snapshotter.in_prepare.wait(10)
        bench.store.leases.delete("ns", "l")
        bench.snapshotter.may_go_on.set()
        with pytest.raises(NotFound):
            making.result()
    assert bench.snapshotter.snapshots == {}
    assert bench.kept_snapshots() == set()


def test_snapshot_in_preparation_and_its_parent_survive_collections(bench: Bench) -> None:
    bench.committed("base")
    bench.snapshotter.may_go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(bench.snapshots().prepare, "work", "base", {"containerd.io/gc.root": "1"})
        assert bench.snapshotter.in_prepare.wait(10)
        for _ in range(3):
            bench.store.collect()
        bench.snapshotter.may_go_on.set()
        making.result()
    bench.store.collect()
    assert bench.kept_snapshots() == {"base", "work"}


def test_crash_after_the_backend_committed(bench: Bench, tmp_path: Path) -> None:
    """The tree is lost to its key; both go, and the same can be made again."""
    snapshots = bench.snapshots()
    snapshots.prepare("work")
    bench.store.close()
    [key] = bench.snapshotter.snapshots
    bench.snapshotter.commit("ns/77/base", key)
    bench.store = LmdbMetadata(bench.folder, bench.content, {"memory": bench.snapshotter}, bench.exchange)
    assert bench.kept_snapshots() == set()
    bench.snapshots().remove("work")
    bench.store.collect()
    assert bench.snapshotter.snapshots == {}
    bench.committed("base")
    assert bench.kept_snapshots() == {"base"}


def test_failed_snapshotter_answers_with_its_own_error(bench: Bench, tmp_path: Path) -> None:
    reasons = {
        "broken": PermissionDenied("/dev/thing: not for you"),
        "raised": RuntimeError("boom"),
        "skipped": SkipPlugin("no such file system here"),
    }
    store = LmdbMetadata(tmp_path / "two", bench.content, {}, bench.exchange, failures=lambda: reasons)
    with pytest.raises(PermissionDenied, match="not for you"):
        store.snapshotter(NS, "broken")
    with pytest.raises(Unavailable, match="RuntimeError: boom"):
        store.snapshotter(NS, "raised")
    with pytest.raises(Unavailable, match="no such file system here"):
        store.snapshotter(NS, "skipped")
    with pytest.raises(InvalidArgument, match="no plugin of that name"):
        store.snapshotter(NS, "unheard-of")
    store.close()


def test_different_snapshots_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.snapshotter.may_go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(bench.snapshots().prepare, "slow")
        assert bench.snapshotter.in_prepare.wait(10)
        pool.submit(bench.snapshots().view, "quick").result(10)
        bench.store.leases.create("ns", "l")
        bench.snapshotter.may_go_on.set()
        slow.result()
    assert bench.kept_snapshots() == {"quick", "slow"}


@pytest.mark.parametrize("name", sorted(checks(mounts=False)))
def test_view_of_a_snapshotter_keeps_the_contract(name: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "metadata")
    store = LmdbMetadata(tmp_path / "two", bench.content, {"memory": MemorySnapshotter()}, bench.exchange)
    checks(mounts=False)[name](store.snapshotter(NS, "memory"))
    store.close()
    bench.store.close()
