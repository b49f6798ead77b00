"""The conformance suite of `corten.contracts.snapshots`: plain functions, to be run against any snapshotter.

    @pytest.mark.parametrize("name", sorted(checks(mounts=True)))
    def test_contract(name, tmp_path):
        checks(mounts=True)[name](MySnapshotter(tmp_path))

Each check is given a snapshotter with nothing in it and raises AssertionError when the contract is broken. Those with
mounts need root on Linux. `MemorySnapshotter` passes all the others.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from corten.contracts.snapshots import Cleaner, Kind, SnapshotInfo, Snapshotter
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.testing.memory_snapshots import MemorySnapshotter

__all__ = ["Check", "MemorySnapshotter", "checks", "fails"]

Check = Callable[[Snapshotter], None]


def checks(*, mounts: bool) -> Mapping[str, Check]:
    """All checks by name; without `mounts` only those that look at records."""
    chosen = [*_RECORDS, *(_trees() if mounts else ())]
    return {check.__name__.removeprefix("_"): check for check in chosen}


def _trees() -> Sequence[Check]:
    if sys.platform != "win32":
        from corten.testing.snapshot_trees import TREES

        return TREES
    return ()


def fails(error: type[CortenError], call: Callable[..., object], *args: object, **kwargs: object) -> CortenError:
    """Assert that the call raises `error`; returns what was raised."""
    try:
        result = call(*args, **kwargs)
    except error as raised:
        assert raised.message, "an error must say something"
        return raised
    raise AssertionError(f"expected {error.__name__}, got {result!r}")


def names(snapshotter: Snapshotter, *filters: str) -> list[str]:
    """What a walk finds."""
    return [info.name for info in snapshotter.walk(filters)]


def _life_cycle(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    active = snapshotter.stat("key")
    assert (active.name, active.kind, active.parent) == ("key", Kind.ACTIVE, "")
    assert 0 < active.created_at <= active.updated_at
    snapshotter.commit("name", "key")
    fails(NotFound, snapshotter.stat, "key")
    committed = snapshotter.stat("name")
    assert (committed.kind, committed.parent) == (Kind.COMMITTED, "")
    snapshotter.view("view", "name")
    assert snapshotter.stat("view") == SnapshotInfo(
        "view", Kind.VIEW, "name", snapshotter.stat("view").created_at, snapshotter.stat("view").updated_at, {}
    )
    for key in ("view", "name"):
        snapshotter.remove(key)
    assert names(snapshotter) == []


def _missing_things_are_not_found(snapshotter: Snapshotter) -> None:
    fails(NotFound, snapshotter.stat, "absent")
    fails(NotFound, snapshotter.mounts, "absent")
    fails(NotFound, snapshotter.usage, "absent")
    fails(NotFound, snapshotter.remove, "absent")
    fails(NotFound, snapshotter.commit, "name", "absent")
    fails(NotFound, snapshotter.prepare, "key", "absent")
    fails(NotFound, snapshotter.view, "key", "absent")
    fails(NotFound, snapshotter.update, SnapshotInfo("absent", labels={"a": "b"}))
    assert names(snapshotter) == []


def _keys_and_names_share_one_space(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("a")
    fails(AlreadyExists, snapshotter.prepare, "a")
    fails(AlreadyExists, snapshotter.view, "a")
    snapshotter.commit("b", "a")
    fails(AlreadyExists, snapshotter.prepare, "b")
    snapshotter.prepare("c")
    fails(AlreadyExists, snapshotter.commit, "b", "c")
    assert snapshotter.stat("c").kind is Kind.ACTIVE, "a commit that failed leaves its key"
    fails(AlreadyExists, snapshotter.commit, "c", "c")


def _empty_keys_are_refused(snapshotter: Snapshotter) -> None:
    fails(InvalidArgument, snapshotter.prepare, "")
    fails(InvalidArgument, snapshotter.view, "")
    snapshotter.prepare("key")
    fails(InvalidArgument, snapshotter.commit, "", "key")
    assert snapshotter.stat("key").kind is Kind.ACTIVE


def _only_committed_snapshots_are_parents(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("active")
    fails(InvalidArgument, snapshotter.prepare, "key", "active")
    snapshotter.commit("base", "active")
    snapshotter.view("view", "base")
    fails(InvalidArgument, snapshotter.prepare, "key", "view")
    fails(InvalidArgument, snapshotter.view, "key", "view")
    fails(NotFound, snapshotter.stat, "key")


def _only_active_snapshots_are_committed(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    fails(FailedPrecondition, snapshotter.commit, "again", "base")
    snapshotter.view("view", "base")
    fails(FailedPrecondition, snapshotter.commit, "again", "view")


def _parents_are_not_removed(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    snapshotter.prepare("child", "base")
    error = fails(FailedPrecondition, snapshotter.remove, "base")
    assert "child" in error.message, "the message names who is in the way"
    snapshotter.remove("child")
    snapshotter.remove("base")


def _committed_snapshots_have_no_mounts(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    fails(FailedPrecondition, snapshotter.mounts, "base")


def _mounts_are_those_of_prepare(snapshotter: Snapshotter) -> None:
    first = snapshotter.prepare("key")
    assert first and snapshotter.mounts("key") == first
    snapshotter.commit("base", "key")
    second = snapshotter.prepare("key2", "base")
    assert snapshotter.mounts("key2") == second
    view = snapshotter.view("view", "base")
    assert snapshotter.mounts("view") == view
    assert any("ro" in mount.options or "upperdir" not in "".join(mount.options) for mount in view)


def _labels_are_kept(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key", labels={"containerd.io/gc.root": "now", "a": "1"})
    assert snapshotter.stat("key").labels == {"containerd.io/gc.root": "now", "a": "1"}
    snapshotter.commit("base", "key", labels={"b": "2"})
    assert snapshotter.stat("base").labels == {"b": "2"}, "a commit brings labels of its own"
    snapshotter.view("view", "base", labels={"c": "3"})
    assert snapshotter.stat("view").labels == {"c": "3"}
    fails(InvalidArgument, snapshotter.prepare, "large", labels={"k": "v" * 4096})
    fails(NotFound, snapshotter.stat, "large")


def _labels_are_updated(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key", labels={"a": "1", "b": "2"})
    updated = snapshotter.update(SnapshotInfo("key", labels={"a": "9", "c": "3"}), ["labels.a"])
    assert updated.labels == {"a": "9", "b": "2"} == snapshotter.stat("key").labels
    assert updated.updated_at >= updated.created_at
    assert snapshotter.update(SnapshotInfo("key", labels={}), ["labels.b"]).labels == {"a": "9"}
    assert snapshotter.update(SnapshotInfo("key", labels={"d": "4"}), ["labels"]).labels == {"d": "4"}
    assert snapshotter.update(SnapshotInfo("key", labels={"e": "5"})).labels == {"e": "5"}
    fails(InvalidArgument, snapshotter.update, SnapshotInfo("key", parent="x"), ["parent"])
    assert snapshotter.stat("key").labels == {"e": "5"}


def _walk_is_sorted_and_filtered(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("k")
    snapshotter.commit("base", "k", labels={"team": "a.b"})
    for key in ("z", "é", "a"):
        snapshotter.prepare(key, "base", labels={"team": key})
    snapshotter.view("view", "base")
    assert names(snapshotter) == ["a", "base", "view", "z", "é"]
    assert names(snapshotter, "kind==committed") == ["base"]
    assert names(snapshotter, "kind==view", "name==a") == ["a", "view"]
    assert names(snapshotter, "parent==base,kind==active") == ["a", "z", "é"]
    assert names(snapshotter, 'labels."team"==a.b') == ["base"]
    assert names(snapshotter, "labels.team") == ["a", "base", "z", "é"]
    assert names(snapshotter, "name~=^[az]$") == ["a", "z"]
    fails(InvalidArgument, lambda: names(snapshotter, "name==="))


def _walks_are_long_and_survive_changes(snapshotter: Snapshotter) -> None:
    for number in range(300):
        snapshotter.prepare(f"key-{number:03}")
    seen = []
    for info in snapshotter.walk():
        seen.append(info.name)
        snapshotter.remove(info.name)
    assert seen == [f"key-{number:03}" for number in range(300)]
    assert names(snapshotter) == []


def _long_names(snapshotter: Snapshotter) -> None:
    for length in (512, 4096, 32768):
        snapshotter.prepare("k" * length)
        snapshotter.commit("n" * length, "k" * length)
        assert snapshotter.stat("n" * length).name == "n" * length
    assert [len(name) for name in names(snapshotter)] == [512, 4096, 32768]


def _one_of_many_wins(snapshotter: Snapshotter) -> None:
    def attempt(_: int) -> bool:
        try:
            snapshotter.prepare("contended")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def _cleanup_is_always_safe(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.prepare("gone")
    snapshotter.remove("gone")
    if isinstance(snapshotter, Cleaner):
        snapshotter.cleanup()
        snapshotter.cleanup()
    assert names(snapshotter) == ["key"]


_RECORDS: Sequence[Check] = (
    _life_cycle,
    _missing_things_are_not_found,
    _keys_and_names_share_one_space,
    _empty_keys_are_refused,
    _only_committed_snapshots_are_parents,
    _only_active_snapshots_are_committed,
    _parents_are_not_removed,
    _committed_snapshots_have_no_mounts,
    _mounts_are_those_of_prepare,
    _labels_are_kept,
    _labels_are_updated,
    _walk_is_sorted_and_filtered,
    _walks_are_long_and_survive_changes,
    _long_names,
    _one_of_many_wins,
    _cleanup_is_always_safe,
)
