"""Reading configuration files: YAML with its lines, containerd's TOML of every version, imports."""

from pathlib import Path
from textwrap import dedent

import pytest
from corten.config.document import Document
from corten.config.files import read_all
from corten.config.merge import merge
from corten.config.migrate import migrate
from corten.config.toml_file import key_lines
from corten.config.units import seconds, size, written
from corten.errors import InvalidArgument, NotFound
from hypothesis import given, settings
from hypothesis import strategies as st


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return str(path)


def read(path: Path, text: str) -> Document:
    return read_all(put(path, text))[0]


def test_every_yaml_key_knows_its_line(tmp_path: Path) -> None:
    document = read(tmp_path / "c.yaml", "version: 4\nplugins:\n  a.b:\n    x: 1\n\n    y: [1, 2]\n")
    assert str(document.origin(("plugins", "a.b", "y"))).endswith("c.yaml:6")
    assert str(document.origin(("plugins", "a.b", "unknown"))).endswith("c.yaml:3")


def test_a_duplicate_yaml_key_names_both_lines(tmp_path: Path) -> None:
    document = read(tmp_path / "c.yaml", "root: /a\nstate: /s\nroot: /b\n")
    assert [str(each) for each in document.problems] == [
        f"{tmp_path}/c.yaml:3: root stands here twice (first on line 1)"
    ]


@pytest.mark.parametrize(
    "text", ["root: [", "- a\n- b\n", "a: &x [*x]\n", "root: !!python/object:os.system x\n", "\x00"]
)
def test_what_is_not_a_configuration_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"c\.yaml"):
        read(tmp_path / "c.yaml", text)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "c.yaml", "# nothing\n").data == {}


def test_toml_without_a_version_is_version_1_and_short_names_become_uris(tmp_path: Path) -> None:
    document = migrate(
        read(
            tmp_path / "c.toml",
            """
            disabled_plugins = ["cri", "io.containerd.snapshotter.v1.zfs"]
            required_plugins = ["bolt"]
            [plugins.overlayfs]
            upperdir_label = true
            [plugins.diff-service]
            default = ["walking"]
            [plugins.something]
            x = 1
            """,
        )
    )
    assert document.data["disabled_plugins"] == ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.zfs"]
    assert document.data["required_plugins"] == ["io.containerd.metadata.v1.lmdb"]
    assert set(document.data["plugins"]) == {
        "io.containerd.snapshotter.v1.overlayfs",
        "io.containerd.service.v1.diff-service",
        "io.containerd.grpc.v1.something",
    }
    path = ("plugins", "io.containerd.snapshotter.v1.overlayfs", "upperdir_label")
    assert str(document.origin(path)).endswith("c.toml:5")


@pytest.mark.parametrize("version", [None, 1, 2, 3])
def test_server_sections_become_plugins(tmp_path: Path, version: int | None) -> None:
    head = "" if version is None else f"version = {version}\n"
    text = head + dedent(
        """
        [grpc]
        address = "/run/x.sock"
        uid = 7
        gid = 8
        max_recv_message_size = 1000
        tcp_address = "127.0.0.1:99"
        tcp_tls_ca = "/ca"
        [debug]
        address = "/run/debug.sock"
        level = "debug"
        [metrics]
        address = "127.0.0.1:1338"
        grpc_histogram = true
        """
    )
    data = migrate(read(tmp_path / "c.toml", text)).data
    assert data["plugins"] == {
        "io.containerd.server.v1.grpc": {
            "address": "/run/x.sock", "uid": 7, "gid": 8, "max_recv_message_size": 1000,
        },
        "io.containerd.server.v1.grpc-tcp": {
            "max_recv_message_size": 1000, "address": "127.0.0.1:99", "tls_ca": "/ca",
        },
        "io.containerd.server.v1.ttrpc": {"uid": 7, "gid": 8},
        "io.containerd.server.v1.debug": {"address": "/run/debug.sock"},
        "io.containerd.server.v1.metrics": {"address": "127.0.0.1:1338"},
        "io.containerd.metrics.v1.grpc-prometheus": {"grpc_histogram": True},
    }  # fmt: skip
    assert data["debug"] == {"level": "debug"}
    assert not {"grpc", "ttrpc", "metrics"} & data.keys()


def test_a_section_of_version_4_wins_over_the_old_one(tmp_path: Path) -> None:
    text = 'version = 3\n[grpc]\naddress = "/old"\n[plugins."io.containerd.server.v1.grpc"]\naddress = "/new"\n'
    assert migrate(read(tmp_path / "c.toml", text)).data["plugins"]["io.containerd.server.v1.grpc"]["address"] == "/new"


def test_version_4_is_left_as_it_is_but_for_the_database(tmp_path: Path) -> None:
    text = 'version = 4\n[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "isolated"\n'
    document = migrate(read(tmp_path / "c.toml", text))
    assert document.data["plugins"] == {"io.containerd.metadata.v1.lmdb": {"content_sharing_policy": "isolated"}}


def test_a_newer_version_is_an_error_with_its_line(tmp_path: Path) -> None:
    (problem,) = migrate(read(tmp_path / "c.yaml", "root: /a\nversion: 5\n")).problems
    assert str(problem).startswith(f"{tmp_path}/c.yaml:2: version 5 is newer")


def test_a_plugins_own_migration_is_called_for_each_version(tmp_path: Path) -> None:
    seen: list[int] = []

    def migration(version: int, section: object) -> dict[str, object]:
        seen.append(version)
        return {**dict(section), f"v{version}": True}  # type: ignore[call-overload]

    document = read(tmp_path / "c.toml", 'version = 2\n[plugins."a.b"]\nx = 1\n')
    assert migrate(document, {"a.b": migration}).data["plugins"]["a.b"] == {"x": 1, "v2": True, "v3": True}
    assert seen == [2, 3]


def test_lines_of_toml_keys_survive_strings_of_many_lines() -> None:
    text = 'a = """\nb = 1\n[c]\n"""\n[x."y.z"]\nk.l = 3 # x = 4\n[[t]]\nm = \'\'\'one line\'\'\'\nn = 1\n'
    lines = key_lines(text)
    assert lines[("x", "y.z", "k", "l")] == 6
    assert lines[("t", "n")] == 9
    assert ("b",) not in lines
    assert ("c",) not in lines


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2\n", "[a]\n[a]\n"])
def test_toml_that_does_not_parse_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"c\.toml:\d"):
        read(tmp_path / "c.toml", text)


def test_a_file_without_a_suffix_is_told_by_its_content(tmp_path: Path) -> None:
    assert read(tmp_path / "one", 'root = "/a"\n').data == {"root": "/a"}
    assert read(tmp_path / "two", "root: /a\n").data == {"root": "/a"}


def test_a_default_configuration_saved_as_toml_is_still_read(tmp_path: Path) -> None:
    assert read(tmp_path / "c.toml", "version: 4\nroot: /a\n").data == {"version": 4, "root": "/a"}


def test_imports_are_relative_may_be_patterns_may_nest_and_win(tmp_path: Path) -> None:
    main = put(tmp_path / "c.yaml", "root: /a\nimports: ['conf.d/*', more.toml]\ntimeouts: {x: 1s, y: 2s}\n")
    put(
        tmp_path / "conf.d" / "1.yaml",
        "plugins: {p.q: {deep: {a: 1, list: [1, 2]}}}\nimports: [../c.yaml, ../last.yaml]\n",
    )
    put(tmp_path / "conf.d" / "2.yaml", "plugins: {p.q: {deep: {b: 2, list: [2, 3]}}}\ntimeouts: {y: 3s}\n")
    put(tmp_path / "more.toml", 'version = 2\nstate = "/s"\n')
    put(tmp_path / "last.yaml", "root: /z\n")
    merged = merge(read_all(main))
    assert merged.data["plugins"] == {"p.q": {"deep": {"a": 1, "b": 2, "list": [1, 2, 3]}}}
    assert merged.data["timeouts"] == {"x": "1s", "y": "3s"}
    assert (merged.data["root"], merged.data["state"]) == ("/z", "/s")
    assert str(merged.origin(("root",))) == f"{tmp_path}/last.yaml:1"
    assert len(merged.origins[("plugins", "p.q", "deep", "list")]) == 2


def test_an_import_that_is_not_there_is_named_with_the_line_that_wants_it(tmp_path: Path) -> None:
    main = put(tmp_path / "c.yaml", "root: /a\nimports: [nothing.yaml, 'none/*.yaml']\n")
    with pytest.raises(NotFound, match=rf"c\.yaml:2: imported file {tmp_path}/nothing\.yaml"):
        read_all(main)


def test_a_named_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        read_all(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("100ms", 0.1),
        ("1h", 3600),
        ("0", 0),
        ("1.5s", 1.5),
        ("-1s", -1),
        ("250us", 0.00025),
    ],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "10", "s", "1x", "1s garbage", "1 s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    assert seconds(written(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, rel=1e-4)


def test_sizes() -> None:
    assert [size(each) for each in ("4096", "16MiB", "1MB", "2K", "3 GiB")] == [4096, 16 << 20, 10**6, 2000, 3 << 30]
    with pytest.raises(ValueError, match="size"):
        size("16 mb")
