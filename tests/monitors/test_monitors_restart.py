"""A real daemon keeps real containers as their labels want them, in every namespace, also over a restart of its own."""

import json
import os
import signal
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import images
import peers
import pytest
from daemon import Daemon, remove_cgroups, running_daemon
from peers import Ctr

pytestmark = pytest.mark.integration
IMAGE = "example.com/test/five:latest"
CONFIG = "version: 4\nplugins:\n  io.containerd.monitor.container.v1.restart: {interval: 1s, max_backoff: 2s}\n"
PREFIX = "containerd.io/restart."
NAMESPACES = (f"one-{os.getpid()}", f"two-{os.getpid()}")
"""Own ones for each worker of the tests, as they are in the paths of the cgroups."""
wait_until = partial(peers.wait_until, timeout=60)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("image")
    layout = images.write_layout(folder / "layout")
    with tarfile.open(folder / "image.tar", "w") as tar:
        for path in sorted(Path(layout).rglob("*")):
            tar.add(path, str(path.relative_to(layout)))
    with running_daemon(config=CONFIG) as daemon:
        for namespace in NAMESPACES:
            client = Ctr(daemon.address, namespace)
            client("images", "import", "--index-name", IMAGE, str(folder / "image.tar"))
        yield daemon
    for namespace in NAMESPACES:
        remove_cgroups(namespace)


@pytest.fixture
def ctr(daemon: Daemon) -> Iterator[Ctr]:
    client = Ctr(daemon.address, NAMESPACES[0])
    yield client
    for namespace in NAMESPACES:
        each = Ctr(daemon.address, namespace)
        for name in each("containers", "ls", "-q").split():
            each("containers", "label", name, f"{PREFIX}status=")
            each.try_("tasks", "rm", "-f", name)
            each.try_("snapshots", "rm", name)
            each.try_("containers", "rm", name)


def run(ctr: Ctr, id: str, script: str, *labels: str, options: tuple[str, ...] = ()) -> None:
    words = [word for label in ("status=running", *labels) for word in ("--label", PREFIX + label)]
    ctr("run", "-d", *options, *words, IMAGE, id, "sh", "-c", script)


def pid(ctr: Ctr, id: str) -> int:
    rows = [line.split() for line in ctr("tasks", "ls").splitlines()[1:]]
    return next((int(row[1]) for row in rows if row[0] == id and row[2] == "RUNNING"), 0)


def count(ctr: Ctr, id: str) -> int:
    labels = json.loads(ctr("containers", "info", id))["Labels"]
    return int(labels.get(f"{PREFIX}count", 0))


def test_what_is_killed_runs_again_in_every_namespace(daemon: Daemon, ctr: Ctr) -> None:
    clients = [Ctr(daemon.address, namespace) for namespace in NAMESPACES]
    for client in clients:
        run(client, "c", "sleep 1000")
    before = [pid(client, "c") for client in clients]
    for client in clients:
        client("tasks", "kill", "-s", "KILL", "c")
    wait_until(
        lambda: all(now and now != old for now, old in zip([pid(c, "c") for c in clients], before, strict=True)),
        "both run again",
    )
    assert {count(client, "c") for client in clients} == {1}


def test_a_task_that_was_removed_is_made_again_and_the_end_of_wanting_stops_it(daemon: Daemon, ctr: Ctr) -> None:
    run(ctr, "c", "sleep 1000")
    ctr("tasks", "rm", "-f", "c")
    wait_until(lambda: pid(ctr, "c"), "it runs again")
    ctr("containers", "label", "c", f"{PREFIX}status=stopped")
    wait_until(lambda: "c" not in ctr("tasks", "ls", "-q").split(), "it is stopped")


def test_failures_are_retried_so_many_times(ctr: Ctr, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    run(ctr, "c", "echo again; exit 3", "policy=on-failure:2", f"loguri=file://{log}")
    wait_until(lambda: count(ctr, "c") == 2 and log.read_text().count("again") == 2, "two retries")
    run(ctr, "d", "exit 0", "policy=on-failure")
    run(ctr, "e", "exit 1", "policy=no")
    run(ctr, "f", "exit 1", "policy=unless-stopped", "explicitly-stopped=true")
    run(ctr, "g", "exit 1", "policy=unless-stopped")
    wait_until(lambda: count(ctr, "g") >= 3, "the monitor has passed by several times")
    assert (count(ctr, "c"), count(ctr, "d"), count(ctr, "e"), count(ctr, "f")) == (2, 0, 0, 0)


def test_a_count_that_is_no_number_is_begun_anew(ctr: Ctr) -> None:
    run(ctr, "c", "sleep 1000", "count=many")
    before = pid(ctr, "c")
    ctr("tasks", "kill", "-s", "KILL", "c")
    wait_until(lambda: pid(ctr, "c") not in (0, before), "it runs again")
    assert count(ctr, "c") == 1


def test_a_paused_task_is_left_alone(ctr: Ctr) -> None:
    run(ctr, "c", "sleep 1000")
    ctr("tasks", "pause", "c")
    run(ctr, "other", "exit 0")
    wait_until(lambda: count(ctr, "other") >= 2, "the monitor has passed by twice")
    assert count(ctr, "c") == 0
    ctr("tasks", "resume", "c")


def test_labels_that_make_no_sense_are_told_of_once(daemon: Daemon, ctr: Ctr) -> None:
    run(ctr, "odd", "exit 0", "policy=sometimes")
    run(ctr, "other", "exit 0")
    wait_until(lambda: count(ctr, "other") >= 3, "the monitor has passed by several times")
    assert daemon.log.count("'sometimes'") == 1


def test_a_log_path_of_old_is_warned_of_and_not_written(daemon: Daemon, ctr: Ctr, tmp_path: Path) -> None:
    run(ctr, "old", "echo said", f"logpath={tmp_path}/log")
    wait_until(lambda: count(ctr, "old") >= 1, "it was started again")
    wait_until(lambda: "old: its label containerd.io/restart.logpath is not heeded" in daemon.log, "the warning")
    assert "containerd.io/restart.loguri takes a URI" in daemon.log and not (tmp_path / "log").exists()


def test_a_terminal_without_a_log_is_restarted_too(ctr: Ctr) -> None:
    wanted = ("--tty", "--label", f"{PREFIX}status=running")
    ctr("containers", "create", *wanted, IMAGE, "tty", "sleep", "1000")
    wait_until(lambda: pid(ctr, "tty"), "it runs")


def test_after_a_restart_of_the_daemon_the_wanted_run(daemon: Daemon, ctr: Ctr) -> None:
    run(ctr, "c", "sleep 1000")
    run(ctr, "d", "sleep 1000")
    running = pid(ctr, "d")
    victim = pid(ctr, "c")
    daemon.kill()
    os.kill(victim, signal.SIGKILL)
    daemon.start()
    wait_until(lambda: pid(ctr, "c") not in (0, victim), "what ended meanwhile runs again")
    assert pid(ctr, "d") == running
