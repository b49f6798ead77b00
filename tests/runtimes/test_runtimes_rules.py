"""The pure parts: names, command lines, errors of runc, answers of shims, what a spec tells, waiting."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corten.errors import (
    AlreadyExists,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
    Unknown,
)
from corten_runtimes import bundle, names
from corten_runtimes.shim import direct, fifo, spawn
from corten_runtimes.shim.facts import spec_facts
from corten_runtimes.shim.loop import Later, Loop, Steps, Turn
from corten_runtimes.shim.reaper import Reaper
from corten_runtimes.task import clarified
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("runtime", "binary"),
    [
        ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
        ("io.containerd.kata-qemu.v2", "containerd-shim-kata-qemu-v2"),
        ("com.example.thing.v12", "containerd-shim-thing-v12"),
        ("/opt/bin/my-shim", "/opt/bin/my-shim"),
    ],
)
def test_runtime_names(runtime: str, binary: str) -> None:
    assert names.shim_binary(runtime) == binary


@pytest.mark.parametrize("runtime", ["", "runc", "io.containerd.runc", "io.containerd.../v2", "../shim.v2", "a b.v2"])
def test_what_is_no_runtime_name(runtime: str) -> None:
    with pytest.raises(InvalidArgument, match="not a runtime name"):
        names.shim_binary(runtime)


def test_command_lines() -> None:
    settings = spawn.RuncSettings("runc", "/r/ns", systemd_cgroup=True, no_pivot_root=True, no_new_keyring=True)
    create = spawn.create(settings, "c1", "/b", "/b/init.pid", "/t1")
    assert create == [
        "create", "--bundle", "/b", "--pid-file", "/b/init.pid", "--console-socket", "/t1", "--no-pivot",
        "--no-new-keyring", "c1",
    ]  # fmt: skip
    assert spawn.command(settings, "/b/log", create)[:8] == [
        "runc", "--root", "/r/ns", "--log", "/b/log", "--log-format", "json", "--systemd-cgroup",
    ]  # fmt: skip
    assert spawn.execute("c1", "/p", "/pid", "") == ["exec", "--detach", "--process", "/p", "--pid-file", "/pid", "c1"]


def test_the_last_error_line_counts() -> None:
    log = "\n".join(
        [
            '{"level":"error","msg":"first"}',
            '{"level":"error","msg":"the cause"}',
            '{"level":"warning","msg":"cleanup"}',
            "not json",
        ]
    )
    assert spawn.last_error(log) == "the cause"
    assert spawn.last_error('{"level":"info","msg":"x"}\nIncorrect Usage: flag\n') == "Incorrect Usage: flag"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("container does not exist", NotFound),
        ("container with given ID already exists", AlreadyExists),
        ("cannot start a container that has stopped", FailedPrecondition),
        ("container not paused", FailedPrecondition),
        ("something else", Unknown),
        ("", Unknown),
    ],
)
def test_failures_have_a_class(message: str, kind: type[CortenError]) -> None:
    error = spawn.failure("runc", "create", 1, json.dumps({"level": "error", "msg": message}))
    assert type(error) is kind
    assert error.message.startswith("OCI runtime create failed: ")


@given(st.text())
def test_any_log_is_survived(log: str) -> None:
    assert isinstance(spawn.last_error(log), str)


def test_old_shims_errors_get_their_class() -> None:
    assert clarified(Unknown("cannot delete a running process")).code == 9
    assert clarified(Unknown("cannot pause task in created state")).code == 9
    assert clarified(Unknown("runc did not terminate successfully: exit status 1: container not running")).code == 9
    assert clarified(Unknown("process already finished")).code == 5
    assert clarified(Unknown("process does not exist e")).code == 5
    assert clarified(Unknown("no space")).code == 2


def test_what_a_spec_tells() -> None:
    private = {"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}
    shared: dict[str, Any] = {"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}
    assert spec_facts(private) == {"private_pids": True, "plain": True}
    for undo in (
        {"hooks": {"poststop": [{"path": "/x"}]}},
        {"linux": {**private["linux"], "intelRdt": {"closID": "a"}}},
    ):
        assert spec_facts({**private, **undo}) == {"private_pids": True, "plain": False}
    for other in (shared, {}, {"linux": None}, {"linux": {"namespaces": None}}):
        assert spec_facts(other) == {"private_pids": False, "plain": False}
    assert bundle.remapped_group({"linux": {"gidMappings": [{"containerID": 0, "hostID": 7000, "size": 1}]}}) == 7000
    assert bundle.remapped_group({}) == 0


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "not a JSON object"), ("null", "not a JSON object"),
        ('{"linux": "x"}', "linux of"), ('{"linux": [1]}', "linux of"), ('{"hooks": 5}', "hooks of"),
        ('{"linux": {"namespaces": {"type": "pid"}}}', "linux.namespaces"),
        ('{"linux": {"namespaces": ["pid"]}}', "linux.namespaces"),
        ('{"linux": {"gidMappings": [{"containerID": 0}]}}', "hostID"),
        ('{"linux": {"gidMappings": [{"containerID": 0, "hostID": 4294967295}]}}', "hostID"),
        ('{"linux": {"gidMappings": [{"containerID": 0, "hostID": "0"}]}}', "hostID"),
    ],
)  # fmt: skip
def test_a_malformed_spec_leaves_nothing(tmp_path: Path, spec: str, says: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "root").mkdir()
    store = bundle.Bundles(tmp_path / "state", tmp_path / "root")
    with pytest.raises(InvalidArgument, match=says):
        store.create("ns", "c1", spec.encode())
    assert list(store.all()) == []


def test_bundles_are_made_and_taken_away_whole(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "root").mkdir()
    store = bundle.Bundles(tmp_path / "state", tmp_path / "root")
    path = store.create("ns", "c1", b'{"ociVersion": "1"}')
    assert (path / "config.json").read_bytes() == b'{"ociVersion": "1"}'
    with pytest.raises(AlreadyExists):
        store.create("ns", "c1", b"{}")
    assert list(store.all()) == [("ns", "c1")]
    store.remove("ns", "c1")
    store.remove("ns", "c1")
    assert list(store.all()) == []
    assert list((tmp_path / "root/ns").iterdir()) == []


def test_bootstrap_that_is_no_record_counts_as_none(tmp_path: Path) -> None:
    for text in ("", "[1]", "{"):
        (tmp_path / "bootstrap.json").write_text(text)
        assert bundle.read_bootstrap(tmp_path) == {}


def test_only_tried_versions_of_runc_are_passed_by() -> None:
    assert direct.is_tried("runc version 1.1.5+ds1\ncommit: x\n")
    for other in ("runc version 1.0.3\n", "crun version 1.1.5\n", "runc version 2.1.0\n", ""):
        assert not direct.is_tried(other)


def test_stream_addresses() -> None:
    assert fifo.path_of("/run/f") == "/run/f"
    assert fifo.path_of("fifo:///run/f") == "/run/f"
    with pytest.raises(Unimplemented, match="scheme http"):
        fifo.path_of("http://x")


def test_generators_wait_for_values_and_take_turns() -> None:
    loop, turn, order = Loop(), Turn(), list[str]()
    gates: list[Later[str]] = [Later(), Later()]

    def steps(number: int) -> Steps[str]:
        yield from turn.take()
        try:
            order.append(f"{number} in")
            return (yield from gates[number].wait())
        finally:
            order.append(f"{number} out")
            turn.give()

    results: list[object] = []
    for number in range(2):
        loop.drive(steps(number), lambda value, error: results.append(error or value))
    gates[0].set("first")
    gates[1].fail(KeyError("second"))
    assert order == ["0 in", "0 out", "1 in", "1 out"]
    assert results[0] == "first"
    assert isinstance(results[1], KeyError)
    loop.release()


@pytest.fixture
def births() -> Iterator[Reaper]:
    reaper = Reaper()
    reaper.begin_birth()
    yield reaper
    reaper.end_birth()


def test_an_exit_before_its_pid_is_known_is_kept(births: Reaper) -> None:
    early = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 9"], os.environ)
    os.waitid(os.P_PID, early, os.WEXITED | os.WNOWAIT)
    births.collect()
    ended = births.expect(early)
    assert ended.value is not None
    assert ended.value.status == 9
