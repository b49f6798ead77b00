"""Calls that reach cortend while it starts: every service answers in its time, and a stop or a failure is told."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import Daemon, daemon_folder, running_daemon
from peers import wait_until

pytestmark = pytest.mark.integration

CALLS = [
    ["version"], ["namespaces", "ls"], ["containers", "ls"], ["content", "ls"], ["images", "ls"], ["leases", "ls"],
    ["snapshots", "ls"], ["tasks", "ls"], ["plugins", "ls"],
]  # fmt: skip


@contextmanager
def starting(folder: Path, source: str = "", *args: str) -> Iterator[Daemon]:
    """A daemon whose socket has just appeared; `source` is a package beside Corten."""
    info = folder / "packages" / "slow-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[corten.plugins]\nit = slow:plugin\n" if source else "")
    (folder / "packages" / "slow.py").write_text(source)
    daemon = Daemon(folder, args, {"PYTHONPATH": str(folder / "packages"), "NOTIFY_SOCKET": str(folder / "notify")})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.setblocking(False)
        daemon.manager = manager  # type: ignore[attr-defined]
        try:
            daemon.start(wait=False)
            wait_until(lambda: Path(daemon.address).exists() or ended(daemon), "the socket appears", 30)
            yield daemon
        finally:
            daemon.stop()


def ended(daemon: Daemon) -> bool:
    return daemon.process is None or daemon.process.poll() is not None


def ready(daemon: Daemon) -> bool:
    """Whether the service manager was told READY."""
    try:
        return bool(daemon.manager.recv(4096).startswith(b"READY=1"))  # type: ignore[attr-defined]
    except BlockingIOError:
        return False


def call(daemon: Daemon, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(daemon.ctr.argv(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code, and what it printed."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


SLOW = """
from corten.plugin.model import Registration
from corten.plugin.types import HOOKS
import asyncio

class Slow:
    async def start(self):
        await asyncio.sleep(1000)

def plugin(): return Registration(HOOKS, 'slow', lambda context: Slow())
"""


def test_every_service_answers_who_calls_at_once() -> None:
    with daemon_folder() as folder, starting(folder) as daemon:
        done = [finished(each) for each in [call(daemon, *words) for words in CALLS]]
        assert [code for code, _ in done] == [0] * len(CALLS), done
        assert "pending" not in done[-1][1] and "io.containerd.server.v1" in done[-1][1]


def test_only_who_asks_about_plugins_waits_for_one_that_hangs(reference: str) -> None:
    with daemon_folder() as folder, starting(folder, SLOW) as daemon:
        for words in CALLS[:-1]:
            code, text = finished(call(daemon, *words))
            assert code == 0, (words, text)
        plugins = call(daemon, "plugins", "ls")
        daemon.ctr("images", "pull", "--plain-http", reference)
        assert plugins.poll() is None and not ready(daemon)
        assert finished(plugins)[0] == 0  # when the plugin's deadline is over
        wait_until(lambda: ready(daemon), "READY", 10)


def test_a_stop_during_the_start_is_told_to_who_waits() -> None:
    with daemon_folder() as folder, starting(folder, SLOW) as daemon:
        finished(call(daemon, "version"))
        plugins = call(daemon, "plugins", "ls")
        time.sleep(0.3)
        os.kill(daemon.pid, signal.SIGTERM)
        code, text = finished(plugins)
        assert code and "unavailable" in text.lower(), text
        assert daemon.process is not None and daemon.process.wait(10) == 0
        assert not Path(daemon.address).exists() and not ready(daemon)


def test_a_start_that_fails_is_told_to_who_waits() -> None:
    failing = SLOW.replace("asyncio.sleep(1000)", "asyncio.sleep(2)\n        raise ValueError('the tape is torn')")
    config = "version: 4\nrequired_plugins: [io.corten.hooks.v1.slow]\n"
    with daemon_folder() as folder:
        (folder / "config.yaml").write_text(config)
        with starting(folder, failing, "-c", str(folder / "config.yaml")) as daemon:
            code, text = finished(call(daemon, "plugins", "ls"))
            assert code and "the tape is torn" in text, text
            assert daemon.process is not None and daemon.process.wait(10) == 1


def test_containers_are_known_to_who_calls_at_once_after_a_kill(reference: str) -> None:
    with running_daemon() as daemon:
        daemon.ctr("images", "pull", "--plain-http", reference)
        daemon.ctr("run", "-d", reference, "web", "sleep", "1000")
        daemon.kill()
        daemon.start(wait=False)
        wait_until(lambda: daemon.ctr.try_("version").returncode == 0, "the first answer", 30)
        assert "RUNNING" in daemon.ctr("tasks", "ls")
        daemon.ctr("tasks", "rm", "-f", "web")
