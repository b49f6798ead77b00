"""Collections against a model: whatever happens while one runs, nothing that is in use goes, and all else goes next."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from corten import digests
from corten.contracts.content import ContentInfo
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image, Resource
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, FailedPrecondition, NotFound
from corten_metadata.gc.nodes import Node
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from metadata.doubles import NS, TARGET, Bench, container

NUMBERS = st.integers(0, 2)
DIGESTS = [digests.of(b"%d" % number) for number in range(5)]
LEASES = st.sampled_from(["", "l0", "l1"])
NAMES = st.sampled_from(["x", "y"])


@dataclass
class Model:
    """What should be there, by the simplest means: blobs with references, images, leases, snapshots with parents."""

    blobs: dict[int, frozenset[int]] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    leases: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    snapshots: dict[int, int | None] = field(default_factory=dict)

    def live(self) -> set[tuple[str, int]]:
        grey = [("blob", number) for number in self.images.values()]
        grey += [thing for things in self.leases.values() for thing in things]
        seen: set[tuple[str, int]] = set()
        while grey:
            kind, number = thing = grey.pop()
            there = self.blobs if kind == "blob" else self.snapshots
            if thing in seen or number not in there:
                continue
            seen.add(thing)
            parent = self.snapshots.get(number) if kind == "snapshot" else None
            grey += [("snapshot", parent)] if parent is not None else []
            grey += [("blob", target) for target in self.blobs[number]] if kind == "blob" else []
        return seen

    def forget_garbage(self) -> None:
        live = self.live()
        self.blobs = {number: refs for number, refs in self.blobs.items() if ("blob", number) in live}
        self.snapshots = {number: up for number, up in self.snapshots.items() if ("snapshot", number) in live}


def labels(references: Iterable[int]) -> dict[str, str]:
    return {f"containerd.io/gc.ref.content.{number}": DIGESTS[number] for number in references}


Step = Callable[[Bench, Model], None]


def put(number: int, references: frozenset[int], lease: str) -> Step:
    def step(bench: Bench, model: Model) -> None:
        scope = Scope("ns", lease if lease in model.leases else "")
        try:
            with bench.blobs(scope).writer(f"put-{number}", expected=DIGESTS[number]) as writer:
                if writer.status().offset == 0:
                    writer.write(b"%d" % number)
                writer.commit(1, DIGESTS[number], labels(references))
            assert number not in model.blobs
            model.blobs[number] = references
        except AlreadyExists:
            assert number in model.blobs
        if scope.lease:
            model.leases[lease].add(("blob", number))

    return step


def relabel(number: int, references: frozenset[int]) -> Step:
    def step(bench: Bench, model: Model) -> None:
        try:
            bench.blobs().update(ContentInfo(DIGESTS[number], labels=labels(references)))
            model.blobs[number] = references
        except NotFound:
            assert number not in model.blobs

    return step


def delete_blob(number: int) -> Step:
    def step(bench: Bench, model: Model) -> None:
        try:
            bench.blobs().delete(DIGESTS[number])
            del model.blobs[number]
        except NotFound:
            assert number not in model.blobs

    return step


def tag(name: str, number: int) -> Step:
    def step(bench: Bench, model: Model) -> None:
        image = Image(name, Descriptor("m", DIGESTS[number], 1))
        images = bench.store.images(NS)
        images.update(image) if name in model.images else images.create(image)
        model.images[name] = number

    return step


def untag(name: str) -> Step:
    def step(bench: Bench, model: Model) -> None:
        if model.images.pop(name, None) is not None:
            bench.store.images(NS).delete(name)

    return step


def begin_lease(name: str) -> Step:
    def step(bench: Bench, model: Model) -> None:
        if name and name not in model.leases:
            bench.store.leases.create("ns", name)
            model.leases[name] = set()

    return step


def end_lease(name: str) -> Step:
    def step(bench: Bench, model: Model) -> None:
        if model.leases.pop(name, None) is not None:
            bench.store.leases.delete("ns", name)

    return step


def join(name: str, number: int) -> Step:
    def step(bench: Bench, model: Model) -> None:
        if name in model.leases:
            bench.store.leases.add("ns", name, Resource(DIGESTS[number], "content"))
            model.leases[name].add(("blob", number))

    return step


def commit(number: int, parent: int, lease: str) -> Step:
    def step(bench: Bench, model: Model) -> None:
        if lease not in model.leases or number in model.snapshots:
            return
        up = parent if parent in model.snapshots else None
        snapshots = bench.snapshots(Scope("ns", lease))
        snapshots.prepare(f"k{number}", "" if up is None else f"s{up}")
        snapshots.commit(f"s{number}", f"k{number}")
        model.snapshots[number] = up
        model.leases[lease].add(("snapshot", number))

    return step


def remove_snapshot(number: int) -> Step:
    def step(bench: Bench, model: Model) -> None:
        try:
            bench.snapshots().remove(f"s{number}")
            del model.snapshots[number]
        except NotFound:
            assert number not in model.snapshots
        except FailedPrecondition:
            assert number in model.snapshots.values()

    return step


REFERENCES = st.frozensets(NUMBERS, max_size=2)
STEPS = st.one_of(
    st.builds(put, NUMBERS, REFERENCES, LEASES),
    st.builds(relabel, NUMBERS, REFERENCES),
    st.builds(delete_blob, NUMBERS),
    st.builds(tag, NAMES, NUMBERS),
    st.builds(untag, NAMES),
    st.builds(begin_lease, LEASES),
    st.builds(end_lease, LEASES),
    st.builds(join, LEASES, NUMBERS),
    st.builds(commit, NUMBERS, NUMBERS, LEASES),
    st.builds(remove_snapshot, NUMBERS),
)


class Meanwhile:
    """A collector of nothing that lets things happen between the look at the store and the marking."""

    reference_label = ""

    def __init__(self) -> None:
        self.happens: Callable[[], object] = lambda: None

    def start(self) -> "Meanwhile":
        return self

    def all(self) -> Iterable[Node]:
        thread = threading.Thread(target=self.happens)
        thread.start()
        thread.join()
        return ()

    def active(self, namespace: str) -> Iterable[Node]:
        return ()

    def leased(self, namespace: str, lease: str) -> Iterable[Node]:
        return ()

    def references(self, node: Node) -> Iterable[Node]:
        return ()

    def remove(self, node: Node) -> None: ...
    def cancel(self) -> None: ...
    def finish(self) -> None: ...


class Collections(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.bench = Bench(Path(self.folder.name) / "metadata")
        self.model = Model()
        self.meanwhile = Meanwhile()
        self.bench.store.register_collector("nothing", self.meanwhile)
        self.exact = True

    def teardown(self) -> None:
        self.bench.store.close()
        self.folder.cleanup()

    @precondition(lambda self: self.exact)
    @rule(steps=st.lists(STEPS, min_size=1, max_size=8))
    def do(self, steps: list[Step]) -> None:
        for step in steps:
            step(self.bench, self.model)

    @precondition(lambda self: self.exact)
    @rule(steps=st.lists(STEPS, max_size=5))
    def collect_while(self, steps: list[Step]) -> None:
        failures: list[BaseException] = []

        def happens() -> None:
            try:
                for step in steps:
                    step(self.bench, self.model)
            except BaseException as error:
                failures.append(error)

        self.meanwhile.happens = happens
        self.bench.store.collect()
        self.meanwhile.happens = lambda: None
        assert not failures, failures
        self.exact = False

    @precondition(lambda self: not self.exact)
    @rule()
    def collect_quietly(self) -> None:
        self.bench.store.collect()
        self.model.forget_garbage()
        self.exact = True
        assert self.there() == self.model.live()
        assert {info.digest for info in self.bench.content.walk()} == {DIGESTS[number] for number in self.model.blobs}
        committed = {name.rpartition("/")[2] for name in self.bench.snapshotter.snapshots}
        assert committed == {f"s{number}" for number in self.model.snapshots}

    @rule()
    def restart(self) -> None:
        self.bench.reopen()
        self.bench.store.register_collector("nothing", self.meanwhile)

    @invariant()
    def what_is_in_use_is_there(self) -> None:
        assert self.there() >= self.model.live()
        for kind, number in self.model.live():
            if kind == "blob":
                assert self.bench.content.data(DIGESTS[number]) == b"%d" % number

    def there(self) -> set[tuple[str, int]]:
        blobs = {("blob", DIGESTS.index(digest)) for digest in self.bench.kept_blobs()}
        return blobs | {("snapshot", int(name[1:])) for name in self.bench.kept_snapshots()}


TestCollections = Collections.TestCase
TestCollections.settings = settings(
    max_examples=150, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


def lease_blob(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    bench.store.leases.add("ns", "l", Resource(DIGESTS[0], "content"))


def write_again(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    put(0, frozenset(), "l")(bench, Model(blobs={0: frozenset()}, leases={"l": set()}))


def refer_to_blob(bench: Bench) -> None:
    bench.blobs().update(ContentInfo(DIGESTS[2], labels={"containerd.io/gc.root": "x", **labels([0])}))


RESCUES: dict[str, Callable[[Bench], object]] = {
    "image": lambda bench: bench.image("i", DIGESTS[0]),
    "root label": lambda bench: bench.blobs().update(
        ContentInfo(DIGESTS[0], labels={"containerd.io/gc.root": "x", **labels([1])})
    ),
    "lease": lease_blob,
    "written again under a lease": write_again,
    "reference": refer_to_blob,
    "container label": lambda bench: bench.store.containers(NS).create(container("box", labels=labels([0]))),
}


@pytest.mark.parametrize("name", RESCUES)
def test_garbage_that_comes_into_use_during_the_collection_stays(name: str, bench: Bench) -> None:
    meanwhile = Meanwhile()
    bench.store.register_collector("nothing", meanwhile)
    bench.put(b"1")
    bench.put(b"0", labels=labels([1]))
    bench.put(b"2", labels={"containerd.io/gc.root": "x"})
    bench.put(b"really garbage")
    meanwhile.happens = lambda: RESCUES[name](bench)
    bench.store.collect()
    assert bench.kept_blobs() == set(DIGESTS[:3])
    meanwhile.happens = lambda: None
    assert bench.store.collect().removed == 0
    assert bench.content.data(DIGESTS[1]) == b"1"


def test_parent_of_a_preparation_that_begins_during_the_collection_stays(bench: Bench) -> None:
    meanwhile = Meanwhile()
    bench.store.register_collector("nothing", meanwhile)
    bench.committed("base")
    bench.snapshotter.in_prepare.clear()
    bench.snapshotter.may_go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        making: list[Future[object]] = []

        def begin() -> None:
            making.append(pool.submit(bench.snapshots().prepare, "run", "base", {"containerd.io/gc.root": "x"}))
            bench.snapshotter.in_prepare.wait(10)

        meanwhile.happens = begin
        bench.store.collect()
        bench.snapshotter.may_go_on.set()
        making[0].result()
    assert bench.kept_snapshots() == {"base", "run"}


def test_a_blob_that_is_said_to_be_there_stays_with_the_lease(bench: Bench) -> None:
    """The collector removes what nobody needs just when somebody asks for it: the answer is right all the same."""
    bench.store.leases.create("ns", "l")
    leased = bench.blobs(replace(NS, lease="l"))
    with ThreadPoolExecutor(1) as pool:
        for turn in range(300):
            digest = bench.put(b"%d" % turn)
            collecting = pool.submit(bench.store.collect)
            try:
                leased.writer("ref", expected=digest).close()
                there = False
            except AlreadyExists:
                there = True
            collecting.result()
            assert (digest in bench.kept_blobs()) or not there


def test_a_snapshot_that_is_said_to_be_there_stays_with_the_lease(bench: Bench) -> None:
    bench.store.leases.create("ns", "l")
    leased = bench.snapshots(replace(NS, lease="l"))
    with ThreadPoolExecutor(1) as pool:
        for turn in range(300):
            bench.committed(f"base-{turn}")
            collecting = pool.submit(bench.store.collect)
            try:
                leased.prepare(f"key-{turn}", labels={TARGET: f"base-{turn}"})
                there = False
            except AlreadyExists:
                there = True
            collecting.result()
            assert (f"base-{turn}" in bench.kept_snapshots()) or not there


def test_collections_beside_busy_writers(bench: Bench) -> None:
    """Writers make leased things without pause; each is there, with its bytes, until its lease ends."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for turn in range(10**6):
                if stop.is_set():
                    return
                one_life(bench, f"{worker}-{turn}", tidy=turn % 2 == 0)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in workers:
        each.start()
    removed, end = 0, time.monotonic() + 60
    while removed < 100 and not failures and time.monotonic() < end:
        removed += bench.store.collect().removed
    stop.set()
    for each in workers:
        each.join()
    assert not failures, failures[0]
    assert removed >= 100
    bench.store.collect()
    assert bench.kept_blobs() == bench.kept_snapshots() == set()
    assert not list(bench.content.walk())
    assert not bench.content.statuses()
    assert bench.snapshotter.snapshots == {}


def one_life(bench: Bench, name: str, *, tidy: bool) -> None:
    """What a pull does: lease, blob, snapshot on a parent, image; then the end, with or without garbage."""
    scope = replace(NS, lease=name)
    bench.store.leases.create("ns", name)
    with bench.blobs(scope).writer(f"w-{name}") as writer:
        writer.write(name.encode())
        digest = writer.commit()
    snapshots = bench.snapshots(scope)
    snapshots.prepare(f"k-{name}")
    snapshots.commit(f"base-{name}", f"k-{name}")
    snapshots.prepare(f"run-{name}", f"base-{name}")
    bench.store.images(scope).create(Image(name, Descriptor("m", digest, 1)))
    with bench.blobs().reader(digest) as reader:
        assert reader.read_at(0, 64) == name.encode()
    assert snapshots.stat(f"run-{name}").parent == f"base-{name}"
    snapshots.remove(f"run-{name}")
    bench.store.images(NS).delete(name)
    bench.store.leases.delete("ns", name)
    if not tidy:
        return
    with suppress(NotFound):  # the collector was quicker
        bench.blobs().delete(digest)
    with suppress(NotFound):
        snapshots.remove(f"base-{name}")
