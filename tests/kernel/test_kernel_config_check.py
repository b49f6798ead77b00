"""Checking a configuration against the models: every mistake is named with file, line and the nearest right key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from corten.config.document import Origin, refuse
from corten.config.explain import as_yaml, explain, locate
from corten.config.files import read_all
from corten.config.load import Config, load
from corten.config.settings import Settings
from corten.config.typed import fill, plain
from corten.config.units import Duration, Size
from corten.errors import InvalidArgument, NotFound
from corten.plugin.model import Registration
from corten.plugin.types import PluginType
from hypothesis import given, settings
from hypothesis import strategies as st

TAPE: PluginType[object] = PluginType("test.tape.v1")
SERVER: PluginType[object] = PluginType("io.containerd.server.v1")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Reel:
    """A nested section."""

    length: int = 5
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TapeConfig:
    """Every kind of field."""

    speed: int = 1
    ratio: float = 0.5
    delay: Duration = 2.0
    buffer: Size = 4096
    loud: bool = False
    name: str | None = None
    colour: Colour = Colour.RED
    mode: Literal["slow", "fast"] = "slow"
    reel: Reel = Reel()
    reels: Mapping[str, Reel] = field(default_factory=dict)
    spare: Sequence[Reel] = ()
    folder: Path = Path("/tape")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """As a server's."""

    address: str = ""


PLUGINS = [
    Registration(TAPE, "tape", lambda _: object(), config=TapeConfig),
    Registration(TAPE, "bare", lambda _: object()),
    Registration(SERVER, "grpc", lambda _: object(), config=ServerConfig),
    Registration(SERVER, "ttrpc", lambda _: object(), config=ServerConfig),
]
URI = "test.tape.v1.tape"


def loaded(folder: Path, text: str, name: str = "c.yaml", incomplete: bool = False) -> Config:
    (folder / name).write_text(text)
    return load(read_all(str(folder / name)), PLUGINS, incomplete=incomplete)


def errors(config: Config) -> list[str]:
    return [str(each) for each in config.problems if not each.warning]


def tape(config: Config) -> TapeConfig:
    found = config.plugins[URI]
    assert isinstance(found, TapeConfig)
    return found


def test_every_kind_of_field_is_filled(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        f"""
plugins:
  {URI}:
    speed: 3
    ratio: 2
    delay: 1m30s
    buffer: 16MiB
    loud: true
    name: x
    colour: blue
    mode: fast
    reel: {{length: 9, tags: [a, b]}}
    reels: {{one: {{length: 1}}}}
    spare: [{{length: 2}}, {{}}]
    folder: /elsewhere
""",
    )
    assert errors(config) == []
    assert tape(config) == TapeConfig(
        3, 2.0, 90.0, 16 << 20, True, "x", Colour.BLUE, "fast", Reel(9, ("a", "b")), {"one": Reel(1)},
        (Reel(2), Reel()), Path("/elsewhere"),
    )  # fmt: skip


def test_defaults_stand_where_nothing_is_set() -> None:
    config = load([], PLUGINS)
    assert config.problems == []
    assert tape(config) == TapeConfig()
    assert config.settings.root == "/var/lib/corten"
    assert (config.grpc_address, config.ttrpc_address) == (
        "/run/containerd/containerd.sock",
        "/run/containerd/containerd.sock.ttrpc",
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rooot: /a\n", 1, ["rooot", "did you mean root"]),
        ("root: 5\n", 1, ["root", "text", "5"]),
        ("root: a/b\n", 1, ["absolute"]),
        ("root: /a\nstate: /a/\n", 2, ["different"]),
        ("oom_score: high\n", 1, ["oom_score", "whole number", "high"]),
        ("disabled_plugins: cri\n", 1, ["disabled_plugins", "list"]),
        ("disabled_plugins: [cri]\n", 1, ["cri", "URI"]),
        ("debug: {level: loud}\n", 1, ["debug.level", "loud"]),
        ("timeouts: {x: soon}\n", 1, ["timeouts.x", "soon"]),
        ("plugins:\n  test.tape.v1.tap: {}\n", 2, ["test.tape.v1.tap", "did you mean test.tape.v1.tape"]),
        (f"plugins:\n  {URI}:\n    sped: 3\n", 3, ['plugins."test.tape.v1.tape".sped', "did you mean speed"]),
        (f"plugins:\n  {URI}:\n    speed: true\n", 3, ["speed", "whole number", "true or false"]),
        (f"plugins:\n  {URI}:\n    loud: 1\n", 3, ["loud", "true or false"]),
        (f"plugins:\n  {URI}:\n    colour: rad\n", 3, ["red, blue", "did you mean red"]),
        (f"plugins:\n  {URI}:\n    mode: fat\n", 3, ["slow, fast", "did you mean fast"]),
        (f"plugins:\n  {URI}:\n    delay: soon\n", 3, ["delay", "duration"]),
        (f"plugins:\n  {URI}:\n    buffer: much\n", 3, ["buffer", "size"]),
        (f"plugins:\n  {URI}:\n    reel:\n      lenght: 3\n", 4, ["reel.lenght", "did you mean length"]),
        (f"plugins:\n  {URI}:\n    reel:\n      tags: [a, 3]\n", 4, ["reel.tags", "entry 2", "text"]),
        (f"plugins:\n  {URI}:\n    reels:\n      one: {{long: 1}}\n", 4, ["reels.one.long"]),
        (f"plugins:\n  {URI}: 7\n", 2, ["section"]),
        ("plugins:\n  test.tape.v1.bare: {x: 1}\n", 2, ["bare", "no settings"]),
        ("version: 9\n", 1, ["newer"]),
        ("version: four\n", 1, ["version"]),
    ],
)
def test_every_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    config = loaded(tmp_path, text)
    (error,) = errors(config)
    assert error.startswith(f"{tmp_path}/c.yaml:{line}: ")
    assert all(word in error for word in words), error
    with pytest.raises(InvalidArgument, match=r"c\.yaml"):
        refuse(config.problems)


def test_unknown_keys_of_containerds_file_are_warnings_and_wrong_types_errors(tmp_path: Path) -> None:
    text = (
        f'version = 2\nplugin_dirs = "/x"\noom_score = "high"\n[plugins."{URI}"]\nsped = 3\n[plugins."nri.v1"]\nx = 1\n'
    )
    config = loaded(tmp_path, text, "c.toml")
    warnings = [str(each) for each in config.problems if each.warning]
    assert [each.partition(" ")[0] for each in warnings] == [f"{tmp_path}/c.toml:{line}:" for line in (2, 5, 6)]
    assert [each.partition(" ")[0] for each in errors(config)] == [f"{tmp_path}/c.toml:3:"]


def test_settings_for_a_plugin_that_may_have_failed_to_load_are_a_warning(tmp_path: Path) -> None:
    config = loaded(tmp_path, "plugins:\n  com.example.x.v1.y: {a: 1}\n", incomplete=True)
    assert [each.warning for each in config.problems] == [True]


def test_what_is_accepted_but_not_used_is_a_warning(tmp_path: Path) -> None:
    config = loaded(tmp_path, "proxy_plugins:\n  stargz: {type: sandbox, address: /run/x.sock}\n")
    (problem,) = config.problems
    assert problem.warning
    assert str(problem).startswith(f"{tmp_path}/c.yaml:2: proxy_plugins.stargz")
    assert config.settings.proxy_plugins["stargz"].address == "/run/x.sock"


def test_the_ttrpc_socket_follows_the_grpc_socket(tmp_path: Path) -> None:
    config = loaded(tmp_path, "plugins:\n  io.containerd.server.v1.grpc: {address: /run/x.sock}\n")
    assert config.ttrpc_address == "/run/x.sock.ttrpc"
    assert config.plugins["io.containerd.server.v1.ttrpc"] == ServerConfig("/run/x.sock.ttrpc")


def test_flags_win_and_are_named() -> None:
    config = load([], PLUGINS, {("root",): ("/flag", Origin("command line, --root"))})
    assert config.settings.root == "/flag"
    assert list(explain(config, "root")) == ["root: /flag  (command line, --root)"]


def test_explain_names_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(f"plugins:\n  {URI}:\n    reel:\n      tags: [b]\n")
    config = loaded(tmp_path, f"imports: [more.yaml]\nplugins:\n  {URI}:\n    reel: {{tags: [a]}}\n    speed: 3\n")
    assert list(explain(config, f"{URI}.speed")) == [f'plugins."{URI}".speed: 3  ({tmp_path}/c.yaml:5)']
    (tags,) = explain(config, f'plugins."{URI}".reel.tags')
    assert tags.endswith(f'["a", "b"]  ({tmp_path}/c.yaml:4, {tmp_path}/more.yaml:4)')
    assert f'plugins."{URI}".loud: false  (default)' in list(explain(config, URI))


def test_explain_of_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"oom_scor.*oom_score"):
        locate(load([], PLUGINS).effective(), "oom_scor")


def test_what_dump_prints_loads_to_the_same(tmp_path: Path) -> None:
    first = loaded(
        tmp_path, f"root: /a\nplugins:\n  {URI}: {{delay: 250ms, reels: {{x: {{length: 3}}}}, colour: blue}}\n"
    )
    again = loaded(tmp_path, as_yaml(first.effective()), "again.yaml")
    assert errors(again) == []
    assert again.effective() == first.effective()
    assert tape(again) == tape(first)


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_no_data_breaks_the_check(data: object) -> None:
    instance, _ = fill(Settings, data)
    assert isinstance(instance, Settings)
    assert fill(Settings, plain(instance))[1] == []
