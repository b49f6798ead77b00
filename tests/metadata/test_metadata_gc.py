"""What the collector keeps and what it removes: worlds built step by step, and the pure parts by themselves."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from corten import digests
from corten.contracts.objects import AnyValue, Resource, Sandbox
from corten.contracts.scope import Scope
from corten.errors import InvalidArgument, NotFound
from corten_metadata.expiry import duration, rfc3339
from corten_metadata.gc.labels import facts
from corten_metadata.gc.nodes import Node
from corten_metadata.gc.tricolor import reachable, referrers_first
from hypothesis import given
from hypothesis import strategies as st
from metadata.doubles import NS, Bench, container

Alter = Callable[[Bench], object]

BLOBS = {name: digests.of(name.encode()) for name in ("a", "b", "c", "d")}


def at(seconds: float) -> str:
    """A time in RFC 3339, so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def built(seconds: int) -> str:
    """For a label of a world: the time so many seconds from when the world is built; `dotted` resolves it."""
    return f"@{seconds}"


def blob(name: str, *where: Scope, **labels: str) -> Alter:
    """A blob; `_` in the name of a label stands for `containerd.io/gc.`, `__` for a dot, values may name blobs."""
    return lambda bench: bench.put(name.encode(), where[0] if where else NS, named(labels))


def image(name: str, target: str, *where: Scope, **labels: str) -> Alter:
    return lambda bench: bench.image(name, BLOBS[target], where[0] if where else NS, **dotted(labels))


def snapshot(name: str, parent: str = "", **labels: str) -> Alter:
    return lambda bench: bench.committed(name, parent, **dotted(labels))


def lease(id: str, *resources: tuple[str, str], **labels: str) -> Alter:
    def alter(bench: Bench) -> None:
        bench.store.leases.create("ns", id, named(labels))
        for type, resource in resources:
            bench.store.leases.add("ns", id, Resource(BLOBS.get(resource, resource), type))

    return alter


def runs(id: str, snapshot: str = "", **labels: str) -> Alter:
    fields = {"snapshotter": "memory", "snapshot_key": snapshot} if snapshot else {}
    return lambda bench: bench.store.containers(NS).create(container(id, labels=named(labels), **fields))


def pod(id: str, **labels: str) -> Alter:
    return lambda bench: bench.store.sandboxes.create("ns", Sandbox(id, spec=AnyValue(), labels=named(labels)))


def ingest(ref: str, lease: str = "") -> Alter:
    return lambda bench: bench.blobs(Scope("ns", lease)).writer(ref).close()


def dotted(labels: dict[str, str]) -> dict[str, str]:
    return {key.replace("__", "."): resolved(value) for key, value in labels.items()}


def resolved(value: str) -> str:
    return at(int(value[1:])) if value.startswith("@") else BLOBS.get(value, value)


def named(labels: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "containerd.io/gc.", 1): value for key, value in dotted(labels).items()}


def left(bench: Bench) -> set[str]:
    """Names of everything removable that is there, blobs by their letter."""
    letters = {digest: letter for letter, digest in BLOBS.items()}
    return {
        *(letters[digest] for digest in bench.kept_blobs()),
        *(f"image {each.name}" for each in bench.store.images(NS).walk()),
        *(f"lease {each.id}" for each in bench.store.leases.list("ns")),
        *(f"snapshot {name}" for name in bench.kept_snapshots()),
        *(f"ingest {each.ref}" for each in bench.blobs().statuses()),
    }


WORLDS: dict[str, tuple[list[Alter], set[str]]] = {
    "nothing keeps it": ([blob("a"), snapshot("s")], set()),
    "roots": ([blob("a", _root="yes"), snapshot("s", _root="x")], {"a", "snapshot s"}),
    "image and what its target refers to": (
        [blob("c"), blob("b", _ref__content__config="c"), blob("a", _ref__content__0="b"), blob("d"), image("i", "a")],
        {"image i", "a", "b", "c"},
    ),
    "forms of a content reference": (
        [blob("b"), blob("c"), blob("d"), blob("a", **{"_root": "x", "_ref__content": "b", "_ref__content/x": "c",
                                                       "_ref__contentious": "d"})],
        {"a", "b", "c"},
    ),
    "image labels refer too": (
        [blob("a"), blob("b"), snapshot("s"),
         image("i", "a", _ref__content="b", **{"_ref__snapshot__memory/x": "s"})],
        {"image i", "a", "b", "snapshot s"},
    ),
    "blob refers to a snapshot and an image": (
        [blob("a", _root="x", _ref__snapshot__memory="s", _ref__image="i"), snapshot("s"), blob("b"),
         image("i", "b", _expire=built(-60)), snapshot("t")],
        {"a", "snapshot s", "image i", "b"},
    ),
    "snapshot keeps its parents": (
        [snapshot("s1"), snapshot("s2", "s1"), snapshot("s3", "s2", _root="x"), snapshot("s4", "s1")],
        {"snapshot s1", "snapshot s2", "snapshot s3"},
    ),
    "snapshot labels refer": (
        [blob("a"), snapshot("s", _root="x", _ref__content="a")], {"a", "snapshot s"},
    ),
    "reference to another snapshotter does not count": (
        [snapshot("s"), blob("a", _root="x", _ref__snapshot__other="s")], {"a"},
    ),
    "container keeps its snapshot and what its labels name": (
        [snapshot("s"), snapshot("t", "s"), blob("a"), runs("c", "t", _ref__content="a"), blob("b")],
        {"snapshot s", "snapshot t", "a"},
    ),
    "container does not keep its image": (
        [blob("a"), image("i", "a", _expire=built(-1)),
         lambda bench: bench.store.containers(NS).create(container("c", image="i"))],
        set(),
    ),
    "sandbox labels refer": ([blob("a"), snapshot("s"), pod("p", _ref__content="a", _ref__snapshot__memory="s")],
                             {"a", "snapshot s"}),
    "back references": (
        [blob("a", _bref__container="box"), blob("b", _bref__image__x="i"), snapshot("s", _bref__content="a"),
         blob("c", **{"_bref__snapshot__memory/y": "s"}), runs("box"), blob("d", _root="x"), image("i", "d")],
        {"a", "b", "c", "d", "image i", "snapshot s"},
    ),
    "back reference to nothing": ([blob("a", _bref__container="none"), blob("b", _bref__image="none")], set()),
    "expired image that something refers to back": (
        [blob("a"), image("i", "a", _expire=built(-9), _bref__container="box"), runs("box")], {"image i", "a"},
    ),
    "image expiry": (
        [blob("a"), blob("b"), blob("c"), image("past", "a", _expire=built(-5)),
         image("future", "b", _expire=built(99)), image("unreadable", "c", _expire="tomorrow")],
        {"image future", "image unreadable", "b", "c"},
    ),
    "lease holds": (
        [blob("a"), blob("b", _ref__content="a"), snapshot("s"), snapshot("t", "s"), blob("c"), blob("d"),
         image("i", "d", _expire=built(-1)),
         lease("l", ("content", "b"), ("snapshots/memory", "t"), ("images", "i"))],
        {"a", "b", "d", "snapshot s", "snapshot t", "image i", "lease l"},
    ),
    "flat lease holds what it names only": (
        [blob("a"), blob("b", _ref__content="a"), blob("c"), snapshot("s"),
         snapshot("t", "s", _ref__content="c"), blob("d", _ref__content="c"), image("i", "d", _expire=built(-1)),
         lease("l", ("content", "b"), ("snapshots/memory", "t"), ("images", "i"), _flat="x")],
        {"b", "d", "snapshot s", "snapshot t", "image i", "lease l"},
    ),
    "flat lease takes nothing from others": (
        [blob("a"), blob("b", _ref__content="a"), image("i", "b"), lease("l", ("content", "b"), _flat="x")],
        {"a", "b", "image i", "lease l"},
    ),
    "lease expiry": (
        [blob("a"), blob("b"), blob("c"), lease("past", ("content", "a"), _expire=built(-3)),
         lease("future", ("content", "b"), _expire=built(99)), lease("odd", ("content", "c"), _expire="soon")],
        {"b", "c", "lease future", "lease odd"},
    ),
    "lease of things that do not exist": (
        [lease("l", ("content", "a"), ("snapshots/other", "s"), ("ingests", "r"))], {"lease l"},
    ),
    "reference of a lease's label does not count": ([blob("a"), lease("l", _ref__content="a")], {"lease l"}),
    "ingests live by their expiry or their lease": (
        [ingest("free"), lease("l"), ingest("leased", "l"), lease("gone"), ingest("lost", "gone"),
         lambda bench: bench.store.leases.delete("ns", "gone")],
        {"ingest free", "ingest leased", "lease l"},
    ),
    "condition that holds": (
        [snapshot("s", **{"_cond__value-usedat": built(-60)}), blob("a"),
         image("i", "a", _cond__snapshot__memory="usedat<1h|s")],
        {"image i", "a", "snapshot s"},
    ),
    "condition that does not hold": (
        [snapshot("s", **{"_cond__value-usedat": built(-7200)}), snapshot("t"), blob("a", _root="x", **{
            "_cond__snapshot__memory": "usedat<1h|s", "_cond__snapshot__memory/t": "usedat<1h|t"})],
        {"a"},
    ),
    "any of several conditions": (
        [snapshot("s", **{"_cond__value-usedat": built(-7200)}), blob("a", _root="x", **{
            "_cond__snapshot__memory/x": "nonsense,usedat<1m,other=1,usedat>90m|s"})],
        {"a", "snapshot s"},
    ),
    "condition of something that goes itself": (
        [snapshot("s", **{"_cond__value-usedat": built(-60)}), blob("a", _cond__snapshot__memory="usedat<1h|s")],
        set(),
    ),
    "cycle": ([blob("a", _ref__content="b"), blob("b", _ref__content="a")], set()),
    "cycle that is held": (
        [blob("a", _ref__content="b"), blob("b", _ref__content="a"), lease("l", ("content", "b"))],
        {"a", "b", "lease l"},
    ),
    "other namespaces keep nothing here": (
        [blob("a"), blob("a", Scope("other")), image("i", "a", Scope("other")),
         lambda bench: bench.store.leases.create("other", "l"),
         lambda bench: bench.store.leases.add("other", "l", Resource(BLOBS["a"], "content"))],
        set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_world(name: str, bench: Bench) -> None:
    alters, kept = WORLDS[name]
    for alter in alters:
        alter(bench)
    bench.store.collect()
    assert left(bench) == kept
    assert bench.store.collect().removed == 0, "once is enough"
    assert left(bench) == kept


def test_backends_hold_just_what_is_left(bench: Bench) -> None:
    for alter in (blob("a"), blob("b"), image("i", "b"), snapshot("s"), snapshot("t", "s"), snapshot("u", "s")):
        alter(bench)
    bench.snapshots().prepare("run", "t", {"containerd.io/gc.root": "x"})
    assert bench.store.collect().removed == 2
    assert [info.digest for info in bench.content.walk()] == [BLOBS["b"]]
    assert len(bench.snapshotter.snapshots) == 3
    assert bench.exchange.topics[-1] == "/snapshot/remove"


def test_deep_chain_goes_in_many_parts(bench: Bench) -> None:
    for number in range(60):
        bench.committed(f"s{number}", f"s{number - 1}" if number else "")
    for number in range(600):
        bench.store.leases.create("ns", f"l{number}", {"containerd.io/gc.expire": at(-1)})
    assert bench.store.collect().removed == 660
    assert bench.snapshotter.snapshots == {}


def test_strangers_in_the_backends_go_at_the_first_collection(bench: Bench) -> None:
    stranger = bench.content.add(b"stranger")
    bench.content.writer("ns/9/r").close()
    bench.snapshotter.prepare("ns/9/key")
    bench.snapshotter.commit("ns/10/name", "ns/9/key")
    bench.snapshotter.view("ns/11/view", "ns/10/name")
    blob("a", _root="x")(bench)
    bench.store.collect()
    with pytest.raises(NotFound):
        bench.content.info(stranger)
    assert bench.content.statuses() == []
    assert bench.snapshotter.snapshots == {}
    assert left(bench) == {"a"}


def test_backend_that_fails_is_cleaned_up_later(bench: Bench) -> None:
    snapshot("s")(bench)
    bench.store.collect()
    snapshot("t")(bench)
    [key] = bench.snapshotter.snapshots
    bench.snapshotter.view("outside", key)
    bench.store.collect()
    assert set(bench.snapshotter.snapshots) == {key, "outside"}
    bench.snapshotter.remove("outside")
    bench.store.collect()
    assert bench.snapshotter.snapshots == {}


def test_ingest_that_is_written_survives_the_end_of_its_lease(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    with bench.blobs(Scope("ns", "l")).writer("r") as writer:
        bench.store.leases.delete("ns", "l")
        bench.store.collect()
        writer.write(b"x")
        assert bench.blobs().status("r").offset == 1
    bench.store.collect()
    assert bench.blobs().statuses() == []
    assert bench.content.statuses() == []


def test_next_expiry_is_known(bench: Bench) -> None:
    assert bench.store.next_expiry is None
    soon, later = at(50), at(90)
    lease("later", _expire=later)(bench)
    lease("soon", _expire=soon)(bench)
    assert bench.store.next_expiry == rfc3339(soon)
    bench.store.leases.delete("ns", "soon")
    bench.store.collect()
    assert bench.store.next_expiry == rfc3339(later)
    bench.reopen()
    bench.store.collect()
    assert bench.store.next_expiry == rfc3339(later)


class Streams:
    """A further collector with resources of its own."""

    reference_label = "stream"

    def __init__(self) -> None:
        self.there = {"s1", "s2", "s3", "s4"}
        self.ended: list[str] = []

    def start(self) -> "Streams":
        return self

    def all(self) -> Iterable[Node]:
        return [Node("stream", "ns", name) for name in sorted(self.there)]

    def active(self, namespace: str) -> Iterable[Node]:
        return [Node("stream", namespace, "s1")]

    def leased(self, namespace: str, lease: str) -> Iterable[Node]:
        return [Node("stream", namespace, "s2")] if lease == "l" else []

    def references(self, node: Node) -> Iterable[Node]:
        return [Node("content", "ns", BLOBS["b"])] if node.key == "s1" else []

    def remove(self, node: Node) -> None:
        self.there.remove(node.key)

    def cancel(self) -> None:
        self.ended.append("cancel")

    def finish(self) -> None:
        self.ended.append("finish")


def test_further_collectors_take_part(bench: Bench) -> None:
    streams = Streams()
    bench.store.register_collector("stream", streams)
    for alter in (blob("a", _root="x", _ref__stream="s3"), blob("b"), blob("c"), lease("l")):
        alter(bench)
    bench.store.collect()
    assert streams.there == {"s1", "s2", "s3"}
    assert left(bench) == {"a", "b", "lease l"}
    assert streams.ended == ["finish"]


def test_what_is_in_use_in_a_namespace_that_the_store_does_not_know_yet_stays(bench: Bench) -> None:
    """The stream of the first import into a namespace is open before anything is in that."""
    streams = Streams()
    bench.store.register_collector("stream", streams)
    assert bench.store.namespaces.list() == []
    bench.store.collect()
    assert streams.there == {"s1"}


GRAPHS = st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4))


@given(GRAPHS, st.lists(st.integers(0, 9), max_size=3))
def test_reachable_is_the_closure_of_the_roots(graph: dict[int, list[int]], roots: list[int]) -> None:
    found = reachable(roots, lambda node: graph.get(node, []))
    assert found >= set(roots)
    assert all(target in found for node in found for target in graph.get(node, []))
    closure, before = set(roots), -1
    while len(closure) != before:
        before = len(closure)
        closure |= {target for node in closure for target in graph.get(node, [])}
    assert found == closure


@given(GRAPHS, st.sets(st.integers(0, 9)))
def test_referrers_come_before_what_they_refer_to(graph: dict[int, list[int]], nodes: set[int]) -> None:
    acyclic = {node: [target for target in targets if target > node] for node, targets in graph.items()}
    order = referrers_first(sorted(nodes), lambda node: acyclic.get(node, []))
    assert sorted(order) == sorted(nodes)
    place = {node: index for index, node in enumerate(order)}
    assert all(place[node] < place[t] for node in nodes for t in acyclic.get(node, []) if t in nodes)
    assert sorted(referrers_first(nodes, lambda node: graph.get(node, []))) == sorted(nodes), "cycles too"


def test_labels_that_mean_nothing() -> None:
    read = facts("ns", {"containerd.io/gc.bref.snapshot": "x", "containerd.io/gc.ref.": "x", "gc.root": "x"})
    assert (read.references, read.referrers, read.root) == ((), (), False)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1h30m", 5400 * 10**9),
        ("100ms", 10**8),
        ("1.5s", 1_500_000_000),
        ("0", 0),
        ("-2m", -120 * 10**9),
        ("7us", 7000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "1d", "--1s", "1h30"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(InvalidArgument):
        duration(text)


def test_times() -> None:
    assert rfc3339("1970-01-01T00:00:01Z") == 10**9
    assert rfc3339("2026-11-23T18:00:00.5+01:00") == rfc3339("2026-11-23T17:00:00.500Z")
    now = time.time_ns()
    assert abs((rfc3339(at(0)) or 0) - now) < 10**9
    for text in ("", "soon", "2026-11-23", "2026-11-23T18:00:00", "2026-11-23 18:00:00Z", "2026-13-23T18:00:00Z"):
        assert rfc3339(text) is None
