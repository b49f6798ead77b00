"""The configuration reference is what the models say, and the graph is drawn as it is."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from corten.config.reference import docs, reference
from corten.config.settings import Settings
from corten.config.typed import keys
from corten.plugin.drawing import FORMATS, Drawn, built_in, columns, svg
from corten.plugin.loader import discover
from corten.plugin.model import State
from hypothesis import given, settings
from hypothesis import strategies as st

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
PICTURE = PAGE.with_name("plugins.svg")
BUILT_IN = [each.registration for each in discover() if each.builtin and each.error is None]


def test_the_page_is_up_to_date() -> None:
    written = reference(BUILT_IN)
    assert PAGE.read_text() == written, "run: python -m corten.config.reference > docs/configuration.md"


@pytest.mark.parametrize("model", [Settings, *(each.config for each in BUILT_IN if each.config)])
def test_every_key_says_what_it_means(model: type[object]) -> None:
    sections = {"debug", "cgroup"} if model is Settings else set()
    assert keys(model).keys() - docs(model).keys() <= sections


@st.composite
def pictures(draw: st.DrawFn) -> list[Drawn]:
    """Any graph, circles among them."""
    names = [f"io.x.v1.p<{index}>" for index in range(draw(st.integers(0, 8)))]
    uses = st.lists(st.sampled_from([*names, "absent"]), max_size=3)
    return [Drawn(name, draw(st.sampled_from(list(State))), tuple(draw(uses))) for name in names]


@settings(deadline=None)
@given(pictures())
def test_every_plugin_is_drawn_once(plugins: list[Drawn]) -> None:
    root = ElementTree.fromstring(svg(plugins))  # noqa: S314 - our own text
    titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(title.rpartition(":")[0] for title in titles) == sorted(each.uri for each in plugins)
    for draw in FORMATS.values():
        assert all(each.uri.rpartition(".")[2].partition("<")[0] in draw(plugins) for each in plugins)


def test_what_is_needed_stands_to_the_left() -> None:
    a, b, c = (
        Drawn("a.v1.a", State.OK, ()),
        Drawn("b.v1.b", State.OK, ("a.v1.a",)),
        Drawn("c.v1.c", State.OK, ("b.v1.b",)),
    )
    assert columns([c, b, a]) == [[a], [b], [c]]


def test_the_picture_in_the_docs_is_up_to_date() -> None:
    assert PICTURE.read_text() == built_in(), "run: python -m corten.plugin.drawing > docs/plugins.svg"
