"""A package from outside adds a snapshotter, a service and a hook; broken packages each say why and harm nobody."""

import http.client
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from daemon import Daemon, clear, daemon_folder
from peers import Ctr, free_port
from thirdparty.packages import BROKEN, HERE, REPOSITORY, broken_project, build_wheels, environment

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("thirdparty")]

COUNT = """
import asyncio, sys
from corten.wire.channel import Channel
from corten_tape.service import descriptor
from google.protobuf.wrappers_pb2 import StringValue

async def main():
    channel = Channel(sys.argv[1])
    method = descriptor().methods_by_name["Count"]
    reply = await channel.unary(method, StringValue(value="images: "), metadata={"containerd-namespace": "default"})
    print(reply.value)
    await channel.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of Corten and of every package, built once."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = [broken_project(folder / "src", name) for name in BROKEN]
    build_wheels(folder / "out", [REPOSITORY, HERE / "tape", *projects])
    return folder / "out"


def started(bin: Path, folder: Path, *args: str) -> Daemon:
    """A daemon of that environment, with a home it cannot write."""
    daemon = Daemon(folder, args, {"HOME": "/proc/1", "XDG_CACHE_HOME": "/proc/1"})
    daemon.program = bin / "cortend"
    daemon.start()
    return daemon


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory, wheels: Path, port: int) -> Iterator[Daemon]:
    """A daemon with the sound package beside it."""
    bin = environment(tmp_path_factory.mktemp("good") / "venv", wheels, "corten-tape")
    with daemon_folder() as folder:
        (folder / "config.toml").write_text(f'version = 3\n[metrics]\naddress = "127.0.0.1:{port}"\n')
        daemon = started(bin, folder, "--config", str(folder / "config.toml"))
        yield daemon
        daemon.stop()


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Daemon]:
    """A daemon with every broken package beside it."""
    bin = environment(tmp_path_factory.mktemp("bad") / "venv", wheels, *[f"corten-x-{name}" for name in BROKEN])
    with daemon_folder() as folder:
        daemon = started(bin, folder)
        yield daemon
        daemon.stop()
        clear(folder)


def test_run_on_the_new_snapshotter_with_the_new_hook(taped: Daemon, reference: str) -> None:
    ctr = Ctr(taped.address)
    ctr("images", "pull", "--plain-http", "--snapshotter", "tape", reference)
    out = ctr("run", "--rm", "--snapshotter", "tape", reference, "t", "sh", "-c", "cat /data/changed; echo; echo $TAPE")
    assert out.split() == ["second", "wound"]
    assert len(ctr("snapshots", "--snapshotter", "tape", "ls").splitlines()) == 6


def test_the_new_service_answers(taped: Daemon, reference: str) -> None:
    Ctr(taped.address)("images", "pull", "--plain-http", reference)
    python = str(taped.program.with_name("python"))
    done = subprocess.run([python, "-c", COUNT, taped.address], capture_output=True, text=True, check=False)
    assert done.stdout == "images: 1\n", done.stderr


def test_its_figures_are_among_the_metrics(taped: Daemon, port: int) -> None:
    python = str(taped.program.with_name("python"))
    subprocess.run([python, "-c", COUNT, taped.address], capture_output=True, check=True)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/v1/metrics")
        assert re.search(
            r'^tape_counts_total\{namespace="default"\} [1-9]', connection.getresponse().read().decode(), re.MULTILINE
        )


def test_the_new_plugins_are_listed(taped: Daemon) -> None:
    states = plugin_states(taped)
    assert states["io.containerd.snapshotter.v1", "tape"] == "ok"
    assert states["io.containerd.grpc.v1", "tape"] == "ok"
    assert states["io.corten.hooks.v1", "tape"] == "ok"


def plugin_states(daemon: Daemon) -> dict[tuple[str, str], str]:
    rows = [re.split(r"\s{2,}", line.strip()) for line in Ctr(daemon.address)("plugins", "ls").splitlines()[1:]]
    return {(row[0], row[1]): row[-1] for row in rows}


def explain(daemon: Daemon, plugin: str) -> str:
    """What `corten plugins explain` says."""
    command = [str(daemon.program.with_name("corten")), "--address", daemon.address, "plugins", "explain", plugin]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"})
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("importerror", "a_module_that_is_nowhere"),
        ("assertion", "this package asserts at import"),
        ("systemexit", "this package exits at import"),
        ("endless", "registration.py:3"),
    ],
)
def test_a_broken_import_is_shown_with_its_reason(besieged: Daemon, package: str, reason: str) -> None:
    text = explain(besieged, package)
    assert "error" in text
    assert reason in text
    assert f"corten-x-{package}" in text


@pytest.mark.parametrize(
    ("plugin", "reasons"),
    [
        ("io.containerd.snapshotter.v1.torn", ["the tape is torn"]),
        ("io.containerd.snapshotter.v1.stuck", ["seconds"]),
        ("io.containerd.snapshotter.v1.lonely", ["com.example.nowhere.v1"]),
        ("io.containerd.snapshotter.v1.claimed", ["corten-x-claimone", "corten-x-claimtwo"]),
    ],
)
def test_a_broken_plugin_is_shown_with_its_reason(besieged: Daemon, plugin: str, reasons: list[str]) -> None:
    text = explain(besieged, plugin)
    assert "error" in text
    for reason in reasons:
        assert reason in text


def test_overlayfs_works_beside_broken_packages(besieged: Daemon, reference: str) -> None:
    ctr = Ctr(besieged.address)
    ctr("images", "pull", "--plain-http", reference)
    assert ctr("run", "--rm", reference, "fine", "cat", "/data/kept") == "kept"
    assert plugin_states(besieged)["io.containerd.snapshotter.v1", "overlayfs"] == "ok"


def test_a_broken_snapshotter_answers_with_its_own_error(besieged: Daemon, reference: str) -> None:
    ctr = Ctr(besieged.address)
    ctr("images", "pull", "--plain-http", reference)
    failed = ctr.try_("run", "--rm", "--snapshotter", "torn", reference, "x", "true")
    assert failed.returncode != 0
    assert "the tape is torn" in failed.stderr


def test_a_second_content_store_changes_nothing(besieged: Daemon) -> None:
    states = plugin_states(besieged)
    assert states["io.containerd.content.v1", "second"] == "ok"
    assert states["io.containerd.metadata.v1", "lmdb"] == "ok"
