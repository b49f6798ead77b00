"""Plugins of every kind of misbehaviour, started and stopped together."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from corten.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from corten.plugin.context import Environment
from corten.plugin.hooks import HookRelay, hookimpl
from corten.plugin.lifecycle import Deadlines, Lifecycle
from corten.plugin.model import PluginContext, Registration, Requirement, SkipPlugin, State, each, later, one
from corten.plugin.record import Found
from corten.plugin.types import PluginType
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.zygote.client import Zygote

SHELF: PluginType[object] = PluginType("test.shelf.v1")
DESK: PluginType[object] = PluginType("test.desk.v1")
ROOM: PluginType[object] = PluginType("test.room.v1")
QUICK = Deadlines(init=0.3, start=0.3, close=0.3)
Init = Callable[[PluginContext], object]


class Part:
    """Something to be closed; keeps a common diary."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary
        diary.append(f"+{name}")

    def close(self) -> None:
        self.diary.append(f"-{self.name}")


def plugin(type: PluginType[object], id: str, init: Init, *requires: Requirement) -> Registration:
    return Registration(type, id, init, requires)


def raising(error: BaseException) -> Init:
    def init(context: PluginContext) -> object:
        raise error

    return init


def lifecycle(plugins: Iterable[Registration], **options: object) -> Lifecycle:
    found = [Found(each, "test 1.0", False) for each in plugins]
    return Lifecycle(found, deadlines=QUICK, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def environment(folder: Path) -> AsyncIterator[Environment]:
    pools = Pools()
    supervisor = Supervisor()
    try:
        yield Environment(
            folder / "root", folder / "state", "/s", "/s.ttrpc", pools, supervisor, Zygote(()), HookRelay(pools)
        )
    finally:
        await supervisor.close(1)
        pools.close()


async def started(folder: Path, *plugins: Registration, **options: object) -> Lifecycle:
    life = lifecycle(plugins, **options)
    async with environment(folder) as shared:
        await life.start(shared)
    return life


def states(life: Lifecycle) -> dict[str, str]:
    return {record.registration.id: str(record.state) for record in life.plugins.values()}


async def test_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    diary: list[str] = []
    life = lifecycle(
        [
            plugin(ROOM, "c", lambda _: Part("c", diary), one(DESK)),
            plugin(DESK, "b", lambda _: Part("b", diary), each(SHELF)),
            plugin(SHELF, "a", lambda _: Part("a", diary)),
        ]
    )
    async with environment(tmp_path) as shared:
        await life.start(shared)
        await life.stop(shared.hooks)
    assert diary == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_independent_plugins_start_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=5)
    life = lifecycle([plugin(SHELF, id, lambda _: both.wait()) for id in ("a", "b")])
    async with environment(tmp_path) as shared:
        await life.start(shared)
    assert states(life) == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize("error", [RuntimeError("torn"), SystemExit("torn"), KeyboardInterrupt("torn")])
async def test_whatever_init_raises_stays_with_its_plugin(tmp_path: Path, error: BaseException) -> None:
    life = await started(tmp_path, plugin(SHELF, "bad", raising(error)), plugin(SHELF, "good", lambda _: object()))
    assert states(life) == {"bad": "error", "good": "ok"}
    assert "torn" in life.plugins["test.shelf.v1.bad"].reason
    assert "test.shelf.v1.bad" in life.plugins["test.shelf.v1.bad"].reason


async def test_an_init_that_is_cancelled_inside_is_an_error_like_any_other(tmp_path: Path) -> None:
    life = await started(tmp_path, plugin(SHELF, "bad", raising(asyncio.CancelledError())))
    assert states(life) == {"bad": "error"}


async def test_an_init_that_hangs_is_given_up_and_says_where_it_is(tmp_path: Path) -> None:
    release, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def hang(context: PluginContext) -> object:
        release.wait(20)
        return Late()

    life = await started(tmp_path, plugin(SHELF, "stuck", hang), plugin(DESK, "d", lambda _: object(), each(SHELF)))
    assert states(life) == {"stuck": "error", "d": "ok"}
    reason = life.plugins["test.shelf.v1.stuck"].reason
    assert "0.3 seconds" in reason
    assert f"hang ({__file__}" in reason
    release.set()
    assert await asyncio.to_thread(closed.wait, 5), "what came too late was not closed"


async def test_a_failure_takes_down_only_who_needs_that_one(tmp_path: Path) -> None:
    seen: dict[str, BaseException] = {}

    def desk(context: PluginContext) -> object:
        seen.update(context.failures(SHELF))
        assert list(context.each(SHELF)) == ["good"]
        return object()

    life = await started(
        tmp_path,
        plugin(SHELF, "bad", raising(RuntimeError("torn"))),
        plugin(SHELF, "good", lambda _: object()),
        plugin(DESK, "some", desk, each(SHELF)),
        plugin(DESK, "needs", lambda _: object(), one(SHELF, "bad")),
        plugin(ROOM, "far", lambda _: object(), one(DESK, "needs")),
    )
    assert states(life) == {"bad": "error", "good": "ok", "some": "ok", "needs": "error", "far": "error"}
    assert "torn" in str(seen["bad"])
    far = life.plugins["test.room.v1.far"].reason
    assert all(part in far for part in ("test.room.v1.far", "test.desk.v1.needs", "test.shelf.v1.bad", "torn"))


async def test_a_requirement_that_nobody_meets_is_named(tmp_path: Path) -> None:
    life = await started(tmp_path, plugin(DESK, "d", lambda _: object(), one(ROOM)))
    assert "test.room.v1" in life.plugins["test.desk.v1.d"].reason


async def test_what_needs_a_disabled_plugin_is_left_out_with_it(tmp_path: Path) -> None:
    life = await started(
        tmp_path,
        plugin(SHELF, "off", lambda _: object()),
        plugin(DESK, "d", lambda _: object(), one(SHELF, "off")),
        disabled=frozenset({"test.shelf.v1.off"}),
    )
    assert states(life) == {"off": "disabled", "d": "skipped"}
    assert "test.shelf.v1.off" in life.plugins["test.desk.v1.d"].reason


async def test_skipped_and_disabled_are_no_errors(tmp_path: Path) -> None:
    ran: list[str] = []
    life = await started(
        tmp_path,
        plugin(SHELF, "skip", raising(SkipPlugin("no tape drive here"))),
        plugin(SHELF, "off", lambda _: ran.append("off")),
        disabled=frozenset({"test.shelf.v1.off"}),
    )
    assert states(life) == {"skip": "skipped", "off": "disabled"}
    assert "no tape drive here" in life.plugins["test.shelf.v1.skip"].reason
    assert ran == []


@pytest.mark.parametrize("wanted", ["test.shelf.v1.bad", "test.shelf.v1.absent"])
async def test_a_required_plugin_that_is_not_up_is_an_error_that_names_it(tmp_path: Path, wanted: str) -> None:
    life = lifecycle([plugin(SHELF, "bad", raising(RuntimeError("torn")))], required=frozenset({wanted}))
    async with environment(tmp_path) as shared:
        with pytest.raises(FailedPrecondition, match=wanted):
            await life.start(shared)


async def test_members_of_a_cycle_are_in_error_and_the_rest_runs(tmp_path: Path) -> None:
    life = await started(
        tmp_path,
        plugin(SHELF, "a", lambda _: object(), one(DESK)),
        plugin(DESK, "b", lambda _: object(), one(SHELF)),
        plugin(ROOM, "c", lambda _: object()),
    )
    assert states(life) == {"a": "error", "b": "error", "c": "ok"}
    assert " -> " in life.plugins["test.shelf.v1.a"].reason


class Failing:
    """Starts badly, in the way it is told."""

    def __init__(self, how: str, closed: list[str]) -> None:
        self.how = how
        self.closed = closed

    async def start(self) -> None:
        if self.how == "hang":
            await asyncio.sleep(100)
        raise SystemExit(self.how) if self.how == "exit" else OSError(self.how)

    async def close(self) -> None:
        self.closed.append(self.how)


@pytest.mark.parametrize("how", ["hang", "exit", "no such port"])
async def test_a_start_that_fails_is_closed_again(tmp_path: Path, how: str) -> None:
    closed: list[str] = []
    life = await started(tmp_path, plugin(SHELF, "s", lambda _: Failing(how, closed)))
    assert states(life) == {"s": "error"}
    assert closed == [how]


async def test_a_close_that_hangs_or_raises_holds_up_nobody(tmp_path: Path) -> None:
    diary: list[str] = []

    class Hangs:
        def close(self) -> None:
            time.sleep(3)

    class Raises:
        async def close(self) -> None:
            raise SystemExit("no")

    life = lifecycle(
        [
            plugin(SHELF, "a", lambda _: Part("a", diary)),
            plugin(DESK, "b", lambda _: Hangs(), each(SHELF)),
            plugin(ROOM, "c", lambda _: Raises(), each(DESK)),
        ]
    )
    async with environment(tmp_path) as shared:
        await life.start(shared)
        began = time.monotonic()
        await life.stop()
    assert time.monotonic() - began < 2
    assert diary == ["+a", "-a"]


async def test_the_context_gives_what_was_required_and_folders_of_its_own(tmp_path: Path) -> None:
    found: dict[str, object] = {}

    def desk(context: PluginContext) -> object:
        found.update(one=context.one(SHELF), root=context.root, mode=context.root.stat().st_mode & 0o777)
        context.export("root", str(context.root))
        context.capability("fast")
        with pytest.raises(FailedPrecondition, match="one"):
            context.one(ROOM)
        with pytest.raises(InvalidArgument):
            context.config_as(Path)
        return object()

    shelf = object()
    life = await started(tmp_path, plugin(DESK, "d", desk, one(SHELF)), plugin(SHELF, "a", lambda _: shelf))
    assert found == {"one": shelf, "root": tmp_path / "root" / "test.desk.v1.d", "mode": 0o700}
    view = life.plugins["test.desk.v1.d"]
    assert (view.exports, view.capabilities) == ({"root": str(found["root"])}, ("fast",))
    assert view.requires_resolved == {"test.shelf.v1": ("test.shelf.v1.a",)}


async def test_hooks_of_an_instance_are_called_until_it_stops(tmp_path: Path) -> None:
    class Proxied:
        @hookimpl
        def oci_spec(self, spec: dict[str, object]) -> None:
            spec["proxied"] = True

    life = lifecycle([plugin(SHELF, "h", lambda _: Proxied())])
    async with environment(tmp_path) as shared:
        await life.start(shared)
        assert shared.hooks.has("oci_spec")
        await life.stop(shared.hooks)
        assert not shared.hooks.has("oci_spec")


def test_states_are_words_of_the_model() -> None:
    assert {str(each) for each in State} == {"pending", "ok", "skipped", "disabled", "error"}


async def test_who_wants_others_later_starts_first_and_stops_first(tmp_path: Path) -> None:
    diary: list[str] = []

    def part(name: str) -> Init:
        return lambda _: Part(name, diary)

    life = await started(
        tmp_path,
        plugin(SHELF, "a", part("a")),
        plugin(SHELF, "b", part("b")),
        plugin(DESK, "front", part("front"), later(SHELF), one(ROOM)),
        plugin(ROOM, "floor", part("floor")),
    )
    assert diary[:2] == ["+floor", "+front"] and sorted(diary[2:]) == ["+a", "+b"]
    assert life.plugins["test.desk.v1.front"].requires_resolved["test.shelf.v1"] == (
        "test.shelf.v1.a",
        "test.shelf.v1.b",
    )
    diary.clear()
    await life.stop()
    assert diary.index("-front") < min(diary.index("-a"), diary.index("-b"))


async def test_plugins_that_hang_in_init_hold_up_nobody(tmp_path: Path) -> None:
    ends = threading.Event()
    stuck = [plugin(SHELF, f"stuck{n}", lambda _: ends.wait(20)) for n in range(8)]
    quick = [plugin(DESK, f"quick{n}", lambda _: object()) for n in range(8)]
    try:
        life = await started(tmp_path, *stuck, *quick)
    finally:
        ends.set()
    assert states(life) == {f"stuck{n}": "error" for n in range(8)} | {f"quick{n}": "ok" for n in range(8)}


async def test_a_plugin_that_somebody_waits_for_comes_first(tmp_path: Path) -> None:
    diary: list[str] = []

    class Front:
        """Waits for the last of all, which needs another."""

        def __init__(self, context: PluginContext) -> None:
            self._context = context

        async def start(self) -> None:
            self.waiting = asyncio.ensure_future(self._context.settled("test.room.v1.wanted"))

        async def close(self) -> None:
            await self.waiting

    def slowly(name: str) -> Init:
        def init(context: PluginContext) -> object:
            time.sleep(0.02)
            return Part(name, diary)

        return init

    life = await started(
        tmp_path,
        *(plugin(SHELF, f"s{n}", slowly(f"s{n}")) for n in range(12)),
        plugin(SHELF, "base", slowly("base")),
        plugin(ROOM, "wanted", slowly("wanted"), one(SHELF, "base")),
        plugin(DESK, "front", Front, later(SHELF)),
    )
    await life.stop()
    made = [each for each in diary if each.startswith("+")]
    assert len(made) == 14 and made.index("+wanted") < 8


async def test_who_waits_for_the_boot_is_told_how_it_ended(tmp_path: Path) -> None:
    contexts: list[PluginContext] = []

    def noting(context: PluginContext) -> object:
        contexts.append(context)
        return object()

    await started(tmp_path, plugin(DESK, "a", noting))
    await contexts[0].booted()
    with pytest.raises(NotFound, match=r"test\.desk\.v1\.nobody"):
        await contexts[0].settled("test.desk.v1.nobody")
    torn = plugin(SHELF, "torn", raising(ValueError("it is torn")))
    with pytest.raises(FailedPrecondition):
        await started(tmp_path, torn, plugin(DESK, "a", noting), required=frozenset({torn.uri}))
    await contexts[1].settled(torn.uri)
    with pytest.raises(Unavailable, match=r"did not start: .*it is torn"):
        await contexts[1].booted()
