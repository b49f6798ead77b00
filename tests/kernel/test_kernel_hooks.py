"""Hooks: who is called in which order, and what becomes of those that fail."""

import inspect
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.events import Envelope
from corten.contracts.objects import AnyValue, Container
from corten.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from corten.plugin.hooks import EDITING, HookRelay, Hooks, hookimpl
from corten.pools import Pools

CONTAINER = Container("c")
DOCS = Path(__file__).parents[2] / "docs" / "hooks.md"


@pytest.fixture
async def relay() -> AsyncIterator[HookRelay]:
    pools = Pools()
    yield HookRelay(pools, deadline=0.3)
    pools.close()


class Adds:
    def __init__(self, word: str) -> None:
        self.word = word

    @hookimpl
    def oci_spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {**spec, "words": [*spec.get("words", []), self.word]}


class Fails:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def oci_spec(self, container: Container) -> None:
        raise self.error

    @hookimpl
    def task_event(self, envelope: Envelope) -> None:
        raise self.error


class Hangs:
    @hookimpl
    def oci_spec(self) -> None:
        time.sleep(1)

    @hookimpl
    def task_event(self) -> None:
        time.sleep(1)


async def test_each_edit_builds_on_the_one_before(relay: HookRelay) -> None:
    assert not relay.has("oci_spec")
    relay.register("a", Adds("a"))
    relay.register("b", Adds("b"))
    assert relay.has("oci_spec")
    spec = await relay.oci_spec("default", CONTAINER, {})
    assert sorted(spec["words"]) == ["a", "b"]


async def test_an_edit_that_refuses_keeps_its_class_and_names_its_plugin(relay: HookRelay) -> None:
    relay.register("test.guard", Fails(PermissionDenied("no privileged containers")))
    with pytest.raises(PermissionDenied, match=r"test\.guard.*no privileged containers"):
        await relay.oci_spec("default", CONTAINER, {})


async def test_an_edit_that_breaks_or_hangs_fails_the_call(relay: HookRelay) -> None:
    relay.register("test.broken", Fails(KeyError("process")))
    with pytest.raises(FailedPrecondition, match=r"test\.broken.*KeyError"):
        await relay.oci_spec("default", CONTAINER, {})
    relay.unregister("test.broken")
    relay.register("test.stuck", Hangs())
    with pytest.raises(FailedPrecondition, match=r"test\.stuck.*0\.3 s"):
        await relay.oci_spec("default", CONTAINER, {})


async def test_an_observer_that_fails_or_hangs_is_logged(relay: HookRelay, caplog: pytest.LogCaptureFixture) -> None:
    relay.register("test.broken", Fails(KeyError("x")))
    relay.register("test.stuck", Hangs())
    with caplog.at_level(logging.WARNING):
        await relay.task_event(Envelope(1, "default", "/tasks/start", AnyValue()))
    assert "test.broken" in caplog.text
    assert "test.stuck" in caplog.text


async def test_a_plugin_without_hooks_is_not_taken_in(relay: HookRelay) -> None:
    assert relay.register("plain", object()) is False


async def test_a_hook_that_does_not_exist_or_wants_too_much_is_refused(relay: HookRelay) -> None:
    class Misspelt:
        @hookimpl
        def oci_specs(self) -> None: ...

    class Greedy:
        @hookimpl
        def oci_spec(self, shoe_size: int) -> None: ...

    for wrong in (Misspelt(), Greedy()):
        with pytest.raises(InvalidArgument, match="wrong"):
            relay.register("wrong", wrong)
    assert not relay.has("oci_spec")


def test_the_documentation_has_every_hook_with_its_parameters() -> None:
    text = DOCS.read_text()
    hooks = {name: spec for name, spec in vars(Hooks).items() if not name.startswith("_")}
    assert re.findall(r"^## `(\w+)\(", text, re.MULTILINE) == list(hooks)
    for name, spec in hooks.items():
        parameters = [each for each in inspect.signature(spec).parameters if each != "self"]
        assert f"## `{name}({', '.join(parameters)})`" in text
        section = text.partition(f"## `{name}(")[2].partition("\n## ")[0]
        assert str(spec.__doc__).strip() in " ".join(section.split())
        assert "**Called**" in section
        assert "@hookimpl" in section
        assert ("fails closed" in section) == (name in EDITING)


def test_every_hook_can_be_called() -> None:
    assert all(hasattr(HookRelay, name) for name in vars(Hooks) if not name.startswith("_"))
