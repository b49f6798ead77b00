"""When collections run: the rules by themselves, and the plugin with a real store."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from corten.contracts.gc import GcStats
from corten.contracts.objects import Resource
from corten.contracts.scope import Scope
from corten.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from corten.plugin.model import Registration
from corten.plugin.types import CONTENT, EVENT, GC, LEASE, METADATA, SANDBOX_STORE, SNAPSHOTTER
from corten.testing.context import FakeContext
from corten.testing.events import RecordingExchange
from corten.testing.memory_content import MemoryContent
from corten_metadata.gc.nodes import Node
from corten_metadata.lease_manager import LeaseManager
from corten_metadata.metadata import LmdbMetadata
from corten_metadata.pacing import MINIMUM, Pacing, Rules
from corten_metadata.registration import MetadataConfig, SchedulerConfig, plugins
from corten_metadata.scheduler import Collectable, Scheduler
from metadata.doubles import NS, Bench, MemorySnapshotter

ALL = {registration.type: registration for registration in plugins()}


def started(rules: Rules | None = None) -> Pacing:
    """After the first collection, which took no time, at 10 s."""
    pacing = Pacing(rules or Rules(), 0.0)
    pacing.collecting()
    pacing.collected(10.0, 0.0)
    return pacing


def test_first_collection_comes_after_the_start() -> None:
    assert Pacing(Rules(startup_delay=0.1), 5.0).due_at() == 5.1
    assert Pacing(Rules(startup_delay=0), 5.0).due_at() is None


def test_nothing_to_do_means_no_collection() -> None:
    assert started().due_at() is None


def test_deletion_waits_for_the_share_of_time() -> None:
    pacing = started()
    pacing.updated(10.01, removes=True)
    assert pacing.due_at() == pytest.approx(10 + MINIMUM / 0.02 - MINIMUM)
    pacing.collecting()
    pacing.collected(20, elapsed=0.2 - MINIMUM)
    pacing.updated(20, removes=True)
    assert pacing.due_at() == pytest.approx(20 + 0.1 / 0.02 - 0.1, rel=0.05), "the average of both counts"


def test_share_is_bounded_by_half() -> None:
    pacing = started(Rules(pause_threshold=0.9))
    pacing.updated(10, removes=True)
    assert pacing.due_at() == pytest.approx(10 + MINIMUM)


def test_many_updates_bring_a_collection() -> None:
    pacing = started(Rules(mutation_threshold=3))
    for _ in range(2):
        pacing.updated(11, removes=False)
        assert pacing.due_at() is None
    pacing.updated(11, removes=False)
    assert pacing.due_at() is not None
    off = started(Rules(mutation_threshold=0))
    for _ in range(1000):
        off.updated(11, removes=False)
    assert off.due_at() is None


def test_deletion_threshold_does_not_wait() -> None:
    pacing = started(Rules(deletion_threshold=2, pause_threshold=0.0001))
    pacing.updated(11, removes=True)
    assert cast("float", pacing.due_at()) > 50
    pacing.updated(12, removes=True)
    assert pacing.due_at() == 12


def test_request_comes_after_the_schedule_delay() -> None:
    pacing = started(Rules(schedule_delay=0.5))
    pacing.requested(11)
    pacing.requested(11.4)
    assert pacing.due_at() == 11.5
    pacing.collecting()
    assert pacing.due_at() is None


def test_failure_is_tried_again() -> None:
    pacing = started()
    pacing.collecting()
    pacing.failed(20)
    assert 21 < cast("float", pacing.due_at()) < 22


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.01)


@pytest.fixture
def context(tmp_path: Path) -> FakeContext:
    return FakeContext(tmp_path / "root", tmp_path / "state")


def scheduler(context: FakeContext, store: Collectable, **rules: float) -> Scheduler:
    return Scheduler(store, Rules(**rules), context.pools, lambda: context.supervisor)  # type: ignore[arg-type]


async def test_expired_lease_goes_without_a_write(bench: Bench, context: FakeContext) -> None:
    made = scheduler(context, bench.store, startup_delay=0.0)
    await made.start()
    digest = bench.put(b"abc")
    expiry = (datetime.now(UTC) + timedelta(seconds=0.4)).isoformat()
    bench.store.leases.create("ns", "l", {"containerd.io/gc.expire": expiry})
    bench.store.leases.add("ns", "l", Resource(digest, "content"))
    await asyncio.sleep(0.1)
    assert bench.kept_blobs() == {digest}
    await eventually(lambda: not bench.kept_blobs() and not list(bench.content.walk()))
    assert bench.store.leases.list("ns") == []
    made.close()
    await context.close()


async def test_expiry_is_found_after_a_restart(bench: Bench, context: FakeContext) -> None:
    digest = bench.put(b"abc")
    expiry = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    bench.image("i", digest, _expire=expiry)
    bench.reopen()
    made = scheduler(context, bench.store, startup_delay=0.01)
    await made.start()
    await eventually(lambda: list(bench.store.images(NS).walk()) == [])
    await eventually(lambda: list(bench.content.walk()) == [])
    made.close()
    await context.close()


async def test_deletion_is_followed_by_a_collection(bench: Bench, context: FakeContext) -> None:
    made = scheduler(context, bench.store)
    await made.start()
    digest = bench.put(b"abc")
    bench.image("i", digest)
    await made_calm(made)
    bench.store.images(NS).delete("i")
    await eventually(lambda: not list(bench.content.walk()))
    made.close()
    await context.close()


async def made_calm(made: Scheduler) -> None:
    await asyncio.to_thread(made.schedule_and_wait)


async def test_waiting_gets_a_collection_that_began_later(bench: Bench, context: FakeContext) -> None:
    gate = Gate()
    bench.store.register_collector("gate", gate)
    made = scheduler(context, bench.store, startup_delay=0.0)
    await made.start()
    first = asyncio.create_task(asyncio.to_thread(made.schedule_and_wait))
    await asyncio.to_thread(gate.inside.wait, 10)
    digest = bench.put(b"too late for the first")
    second = asyncio.create_task(asyncio.to_thread(made.schedule_and_wait))
    await asyncio.sleep(0.05)
    gate.open.set()
    await first
    assert (await second).removed == 1
    with pytest.raises(NotFound):
        bench.content.info(digest)
    made.close()
    await context.close()


class Gate:
    """A collector of nothing in which the collection waits."""

    reference_label = ""

    def __init__(self) -> None:
        self.inside, self.open = threading.Event(), threading.Event()

    def start(self) -> "Gate":
        return self

    def all(self) -> Iterable[Node]:
        self.inside.set()
        self.open.wait(10)
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


class Failing:
    """A store whose collections fail the first time."""

    next_expiry = None

    def __init__(self) -> None:
        self.calls = 0

    def collect(self) -> GcStats:
        self.calls += 1
        if self.calls == 1:
            raise DataLoss("bad page")
        return GcStats(0.0, 7)

    def on_update(self, listener: Callable[[bool], None]) -> None: ...
    def on_earlier_expiry(self, listener: Callable[[], None]) -> None: ...


async def test_failed_collection_is_told_and_tried_again(context: FakeContext) -> None:
    made = scheduler(context, Failing(), startup_delay=0.0)
    await made.start()
    with pytest.raises(DataLoss, match="bad page"):
        await asyncio.to_thread(made.schedule_and_wait)
    assert (await asyncio.to_thread(made.schedule_and_wait)).removed == 7
    made.close()
    with pytest.raises(Unavailable):
        made.schedule_and_wait()
    await context.close()


async def test_close_lets_go_who_waits(bench: Bench, context: FakeContext) -> None:
    gate = Gate()
    bench.store.register_collector("gate", gate)
    made = scheduler(context, bench.store, startup_delay=0.0, schedule_delay=60.0)
    await made.start()
    waiting = asyncio.create_task(asyncio.to_thread(made.schedule_and_wait))
    await asyncio.sleep(0.05)
    made.close()
    with pytest.raises(Unavailable, match="stops"):
        await waiting
    gate.open.set()
    await context.close()


async def test_plugins_start_together(tmp_path: Path) -> None:
    content, exchange, memory = MemoryContent(), RecordingExchange(), MemorySnapshotter()
    context = FakeContext(
        tmp_path / "root",
        tmp_path / "state",
        registration=ALL[METADATA],
        config=MetadataConfig(content_store="second"),
        instances={(CONTENT, "content"): MemoryContent(), (CONTENT, "second"): content, (EVENT, "exchange"): exchange,
                   (SNAPSHOTTER, "memory"): memory},
        failed={(SNAPSHOTTER, "broken"): PermissionDenied("no")},
    )  # fmt: skip
    metadata = start(context, ALL[METADATA])
    assert isinstance(metadata, LmdbMetadata)
    assert context.exports["policy"] == "shared"
    with metadata.content(NS).writer("r") as writer:
        writer.write(b"x")
        assert content.info(writer.commit())
    assert set(metadata.snapshotters()) == {"memory"}
    with pytest.raises(PermissionDenied):
        metadata.snapshotter(NS, "broken")
    instances = {(METADATA, "lmdb"): metadata}
    gc_context = FakeContext(tmp_path, tmp_path, registration=ALL[GC], instances=instances)
    collector = start(gc_context, ALL[GC])
    assert isinstance(collector, Scheduler)
    assert gc_context.exports["MutationThreshold"] == "100"
    lease_context = FakeContext(tmp_path, tmp_path, instances={**instances, (GC, "scheduler"): collector})
    leases = start(lease_context, ALL[LEASE])
    assert isinstance(leases, LeaseManager)
    await collector.start()
    leases.create("ns", "l")
    with metadata.content(Scope("ns", "l")).writer("r") as writer:
        writer.write(b"leased")
        digest = writer.commit()
    await asyncio.to_thread(leases.delete, "ns", "l", sync=True)
    with pytest.raises(NotFound):
        content.info(digest)
    assert start(lease_context, ALL[SANDBOX_STORE]) is metadata.sandboxes
    collector.close()
    await gc_context.close()
    metadata.close()
    await context.close()


def start(context: FakeContext, registration: Registration) -> object:
    return registration.init(context)


@pytest.mark.parametrize(
    ("registration", "config"),
    [(METADATA, MetadataConfig(content_sharing_policy="some")), (GC, SchedulerConfig(schedule_delay="soon"))],
)
def test_config_that_makes_no_sense_is_refused(
    registration: object, config: object, bench: Bench, tmp_path: Path
) -> None:
    instances = {(CONTENT, "content"): bench.content, (EVENT, "e"): bench.exchange, (METADATA, "lmdb"): bench.store}
    context = FakeContext(tmp_path / "r", tmp_path / "s", config=config, instances=instances)
    with pytest.raises(InvalidArgument):
        start(context, next(each for kind, each in ALL.items() if kind == registration))


def test_store_of_a_newer_corten_is_not_started(bench: Bench) -> None:
    from corten_metadata import migrations
    from corten_metadata.codec import Encoder
    from corten_metadata.schema import VERSION_KEY
    from corten_metadata.store import Store

    bench.store.close()
    raw = Store(bench.folder)
    raw.write(lambda txn: txn.put(VERSION_KEY, Encoder().number(migrations.VERSION + 5).done()))
    raw.close()
    with pytest.raises(FailedPrecondition):
        bench.reopen()
