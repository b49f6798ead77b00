"""The plan of a start, over graphs of every shape."""

from collections.abc import Mapping, Sequence

import pytest
from corten.errors import FailedPrecondition
from corten.plugin.graph import find_cycle, ordered, plan
from corten.plugin.model import Registration, Requirement, each, one, order
from corten.plugin.types import PluginType
from hypothesis import given, settings
from hypothesis import strategies as st

STORE: PluginType[object] = PluginType("test.store.v1")
SHELF: PluginType[object] = PluginType("test.shelf.v1")
DESK: PluginType[object] = PluginType("test.desk.v1")


def plugin(type: PluginType[object], id: str, *requires: Requirement) -> Registration:
    return Registration(type, id, lambda _: object(), requires)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Any directed graph of up to twelve nodes."""
    names = [f"n{index}" for index in range(draw(st.integers(0, 12)))]
    return {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=4)) for name in names}


def is_cycle(edges: Mapping[str, Sequence[str]], cycle: Sequence[str]) -> bool:
    return all(after in edges[name] for name, after in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True))


@settings(deadline=None)
@given(graphs())
def test_an_order_serves_every_edge_or_there_is_a_cycle(edges: dict[str, list[str]]) -> None:
    cycle = find_cycle(edges)
    if cycle:
        assert is_cycle(edges, cycle)
        with pytest.raises(FailedPrecondition, match=" -> "):
            list(ordered(edges))
        return
    found = list(ordered(edges))
    assert sorted(found) == sorted(edges)
    assert all(found.index(before) < found.index(name) for name in edges for before in edges[name])


@settings(deadline=None)
@given(st.permutations([f"n{index}" for index in range(6)]))
def test_what_is_free_starts_in_the_order_it_was_given(names: list[str]) -> None:
    assert list(ordered({name: [] for name in names})) == names


@settings(deadline=None)
@given(graphs())
def test_a_plan_holds_every_plugin_whatever_they_require(edges: dict[str, list[str]]) -> None:
    types: dict[str, PluginType[object]] = {name: PluginType(f"test.{name}.v1") for name in edges}
    plugins = [plugin(types[name], "x", *(one(types[each]) for each in edges[name])) for name in edges]
    found = plan(plugins)
    assert sorted(found.order) == sorted(each.uri for each in plugins)
    for uri in found.order:
        if uri not in found.cycles:
            before = [each for each in found.nodes[uri].after if each not in found.cycles]
            assert all(found.order.index(each) < found.order.index(uri) for each in before)


def test_waves_put_independent_plugins_side_by_side() -> None:
    found = plan(
        [plugin(DESK, "d", each(SHELF)), plugin(SHELF, "a"), plugin(SHELF, "b"), plugin(STORE, "s", order(DESK))]
    )
    assert found.waves() == [("test.shelf.v1.a", "test.shelf.v1.b"), ("test.desk.v1.d",), ("test.store.v1.s",)]


def test_one_takes_the_only_member_the_chosen_one_or_the_built_in_one() -> None:
    a, b, user = plugin(SHELF, "a"), plugin(SHELF, "b"), plugin(DESK, "d", one(SHELF, key="shelf"))
    only = plan([a, user])
    assert only.nodes[user.uri].must == (a.uri,)
    chosen = plan([a, b, user], {(user.uri, "shelf"): "b"}, builtin={a.uri, user.uri})
    assert chosen.nodes[user.uri].must == (b.uri,)
    unasked = plan([a, b, user], builtin={a.uri, user.uri})
    assert unasked.nodes[user.uri].must == (a.uri,)


def test_one_of_several_without_a_choice_names_them_and_the_setting() -> None:
    user = plugin(DESK, "d", one(SHELF, key="shelf"))
    unmet = plan([plugin(SHELF, "a"), plugin(SHELF, "b"), user]).nodes[user.uri].unmet
    assert "test.shelf.v1.a, test.shelf.v1.b" in unmet
    assert "shelf" in unmet


def test_a_disabled_member_does_not_make_a_choice_needed() -> None:
    user = plugin(DESK, "d", one(SHELF))
    found = plan([plugin(SHELF, "a"), plugin(SHELF, "b"), user], disabled={"test.shelf.v1.a"})
    assert found.nodes[user.uri].must == ("test.shelf.v1.b",)


def test_a_missing_one_names_what_there_is() -> None:
    user = plugin(DESK, "d", one(SHELF, "c"))
    unmet = plan([plugin(SHELF, "a"), user]).nodes[user.uri].unmet
    assert "test.shelf.v1.c" in unmet
    assert "test.shelf.v1.a" in unmet


def test_a_cycle_is_drawn_and_blamed_on_the_plugin_from_outside() -> None:
    store, shelf = plugin(STORE, "s", each(SHELF)), plugin(SHELF, "a")
    intruder = plugin(SHELF, "x", one(STORE))
    found = plan([store, shelf, intruder], builtin={store.uri, shelf.uri})
    assert set(found.cycles) == {intruder.uri}
    assert " -> " in found.cycles[intruder.uri]
    assert store.uri in found.cycles[intruder.uri]
