"""FakeContext gives a plugin what a daemon would."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from corten.errors import NotFound, Unavailable
from corten.plugin.model import PluginContext, Registration, one
from corten.plugin.types import PluginType
from corten.testing.context import FakeContext

SHELF: PluginType[str] = PluginType("test.shelf.v1")


@dataclass(frozen=True)
class DeskConfig:
    """Chooses a shelf."""

    shelf: str = "a"


def init(context: PluginContext) -> str:
    context.export("shelf", context.one(SHELF))
    return context.config_as(DeskConfig).shelf


DESK = Registration(PluginType("test.desk.v1"), "d", init, (one(SHELF, key="shelf"),), DeskConfig)


def test_one_follows_the_config_as_in_a_daemon(tmp_path: Path) -> None:
    shelves: dict[tuple[PluginType[str], str], object] = {(SHELF, "a"): "left", (SHELF, "b"): "right"}
    for id, wanted in (("a", "left"), ("b", "right")):
        context = FakeContext(
            tmp_path / "r", tmp_path / "s", registration=DESK, config=DeskConfig(id), instances=shelves
        )
        assert DESK.init(context) == id
        assert context.exports == {"shelf": wanted}
        assert context.uri == "test.desk.v1.d"


def test_what_is_not_given_is_an_error_that_says_so(tmp_path: Path) -> None:
    context = FakeContext(tmp_path / "r", tmp_path / "s", failed={(SHELF, "x"): OSError("torn")})
    with pytest.raises(NotFound, match=r"test\.shelf\.v1"):
        context.one(SHELF)
    with pytest.raises(Unavailable):
        _ = context.workers
    assert list(context.failures(SHELF)) == ["x"]
    assert context.each(SHELF) == {}
    assert context.config_as(DeskConfig) == DeskConfig()


async def test_folders_are_made_when_asked_for(tmp_path: Path) -> None:
    context = FakeContext(tmp_path / "r", tmp_path / "s")
    assert not (tmp_path / "r").exists()
    assert context.root.is_dir()
    assert context.state == tmp_path / "s"
    assert context.supervisor is context.supervisor
    await context.close()
