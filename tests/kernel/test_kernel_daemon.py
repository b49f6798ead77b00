"""cortend as a program: flags, verbs, notification, signals, and what it says when it cannot start."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CORTEND = str(Path(sys.executable).with_name("cortend"))


def cortend(*args: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([CORTEND, *args], input=input, capture_output=True, timeout=60, check=False)


def own(folder: Path) -> list[str]:
    return ["--root", f"{folder}/root", "--state", f"{folder}/state", "-a", f"{folder}/c.sock"]


@contextmanager
def running(folder: Path, *args: str) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """A daemon that has said READY, and the socket on which it says so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(folder / "log", "wb") as log:
        manager.bind(str(folder / "notify"))
        manager.settimeout(30)
        env = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        daemon = subprocess.Popen([CORTEND, *own(folder), *args], stderr=log, env=env)
        try:
            assert manager.recv(4096).startswith(b"READY=1"), (folder / "log").read_text()
            yield daemon, manager
        finally:
            daemon.terminate()
            try:
                daemon.wait(30)
            finally:
                daemon.kill()
                daemon.wait()


def wait_for(folder: Path, words: str) -> str:
    """What was logged, once it has these words."""
    end = time.monotonic() + 10
    while words not in (text := (folder / "log").read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    assert words in text, text
    return text


def test_it_says_ready_and_stopping_and_ends_with_0(tmp_path: Path) -> None:
    with running(tmp_path) as (daemon, manager):
        assert Path(f"{tmp_path}/c.sock").is_socket()
        daemon.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        assert daemon.wait(20) == 0
    assert not Path(f"{tmp_path}/c.sock").exists()
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(re.match(r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z" level=\w+ msg="', line) for line in lines), (
        lines
    )


def test_hup_is_harmless_and_usr1_shows_where_everybody_is(tmp_path: Path) -> None:
    with running(tmp_path) as (daemon, _):
        daemon.send_signal(signal.SIGHUP)
        wait_for(tmp_path, "SIGHUP")
        daemon.send_signal(signal.SIGUSR1)
        text = wait_for(tmp_path, "Current thread")
        assert "corten/daemon/serve.py" in text
        assert daemon.poll() is None


def test_log_level_and_format_come_from_flags(tmp_path: Path) -> None:
    with running(tmp_path, "-l", "debug", "--log-format", "json"):
        assert '"level": "debug"' in (tmp_path / "log").read_text()


def test_the_daemon_holds_its_root(tmp_path: Path) -> None:
    with running(tmp_path) as (daemon, _):
        second = cortend("--root", f"{tmp_path}/root", "--state", f"{tmp_path}/s2", "-a", f"{tmp_path}/d.sock")
    assert second.returncode == 1
    assert f"pid {daemon.pid}" in second.stderr.decode()


def test_a_required_plugin_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("required_plugins: [com.example.absent.v1.x]\n")
    done = cortend(*own(tmp_path), "-c", f"{tmp_path}/c.yaml")
    assert done.returncode == 1
    assert "com.example.absent.v1.x" in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("rooot: /x\n", "did you mean root"),
        ("plugins: {io.containerd.snapshotter.v1.overlayfs: {upperdir_lable: true}}\n", "did you mean upperdir_label"),
        ("root: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, config: str, words: str
) -> None:
    (tmp_path / "c.yaml").write_text(config)
    done = cortend(*own(tmp_path), "-c", f"{tmp_path}/c.yaml")
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1
    assert f"{tmp_path}/c.yaml:1" in last
    assert words in last
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_an_absent_configuration_is_an_error_when_named(tmp_path: Path) -> None:
    done = cortend("-c", f"{tmp_path}/none.yaml")
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert f"{tmp_path}/none.yaml" in done.stderr.decode()


def test_an_address_that_no_socket_can_have_is_refused_first(tmp_path: Path) -> None:
    done = cortend("--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state", "-a", f"{tmp_path}/{'x' * 120}")
    assert done.returncode == 1
    assert "107" in done.stderr.decode()
    assert not (tmp_path / "root").exists()


def test_version() -> None:
    for flag in ("-v", "--version"):
        done = cortend(flag)
        assert done.returncode == 0
        assert re.fullmatch(rb"cortend corten v\d+\.\d+\.\d+\S*\n", done.stdout)


def test_check_reports_every_line_and_fails_on_warnings(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('version = 2\nfoo = 1\n[plugins."io.containerd.snapshotter.v1.nope"]\nx = 1\n')
    done = cortend("-c", f"{tmp_path}/c.toml", "config", "check")
    assert done.returncode == 1
    assert re.findall(rb"^warning: .*c\.toml:(\d+): ", done.stderr, re.MULTILINE) == [b"2", b"3"]
    (tmp_path / "good.yaml").write_text("oom_score: -10\n")
    assert cortend("config", "check", "-c", f"{tmp_path}/good.yaml").returncode == 0


def test_default_is_a_configuration_that_check_accepts(tmp_path: Path) -> None:
    done = cortend("config", "default")
    assert done.returncode == 0
    (tmp_path / "c.yaml").write_bytes(done.stdout)
    checked = cortend("config", "check", "-c", f"{tmp_path}/c.yaml")
    assert checked.returncode == 0, checked.stderr
    assert cortend("config", "dump", "-c", f"{tmp_path}/c.yaml").stdout == done.stdout
    assert cortend("config", "migrate", "-c", f"{tmp_path}/c.yaml").stdout == done.stdout


def test_migrate_prints_what_the_file_sets(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'root = "/r"\n[grpc]\naddress = "/run/a.sock"\n[plugins.overlayfs]\nupperdir_label = true\n'
    )
    done = cortend("-c", f"{tmp_path}/c.toml", "config", "migrate")
    assert done.stdout.decode() == (
        "root: /r\nplugins:\n  io.containerd.snapshotter.v1.overlayfs:\n    upperdir_label: true\n"
        "  io.containerd.server.v1.grpc:\n    address: /run/a.sock\nversion: 4\n"
    )


@pytest.mark.integration
def test_containerds_own_default_configuration_is_taken(tmp_path: Path) -> None:
    """Debian's 1.6 writes version 2; what Corten does not know there are warnings, each with its line."""
    text = subprocess.run(["containerd", "config", "default"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "c.toml").write_text(text)
    checked = cortend("-c", f"{tmp_path}/c.toml", "config", "check")
    lines = checked.stderr.decode().splitlines()
    assert lines
    assert all(re.match(rf"warning: {tmp_path}/c\.toml:\d+: ", line) for line in lines), lines
    shown = cortend(
        "-c", f"{tmp_path}/c.toml", "config", "explain", "io.containerd.gc.v1.scheduler.startup_delay"
    ).stdout
    assert re.search(rb"startup_delay: 100ms  \(.*c\.toml:\d+\)", shown)


def test_explain_names_flag_file_and_default(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# a line\noom_score: 5\n")
    assert cortend("-c", f"{tmp_path}/c.yaml", "config", "explain", "oom_score").stdout.decode() == (
        f"oom_score: 5  ({tmp_path}/c.yaml:2)\n"
    )
    flag = cortend("--root", "/r", "config", "explain", "root").stdout
    assert flag == b"root: /r  (command line, --root)\n"


def test_explain_of_an_unknown_key() -> None:
    done = cortend("config", "explain", "rooot")
    assert done.returncode == 1
    assert b"did you mean root" in done.stderr


def test_publish_without_a_daemon_or_with_a_bad_event_says_so(tmp_path: Path) -> None:
    missing = cortend("-a", f"{tmp_path}/c.sock", "publish", "--namespace", "default", "--topic", "/x")
    assert missing.returncode == 1
    assert f"{tmp_path}/c.sock" in missing.stderr.decode()
    bad = cortend("-a", f"{tmp_path}/c.sock", "publish", "--topic", "/x", input=b"\xff\xff")
    assert bad.returncode == 1
    assert b"Any" in bad.stderr
    assert b"Traceback" not in bad.stderr + missing.stderr


def test_publish_reaches_a_daemon(tmp_path: Path) -> None:
    with running(tmp_path):
        event = b"\x0a\x05a.B.C"
        done = cortend("-a", f"{tmp_path}/c.sock", "publish", "--namespace", "default", "--topic", "/x/y", input=event)
        assert done.returncode == 0, done.stderr


def test_the_unit_file_lets_containers_outlive_the_daemon() -> None:
    unit = (Path(__file__).parents[2] / "packaging" / "cortend.service").read_text().splitlines()
    assert {"Type=notify", "Delegate=yes", "KillMode=process", "OOMScoreAdjust=-999"} <= set(unit)


def test_a_signal_during_a_start_that_hangs_ends_it(tmp_path: Path) -> None:
    """A package whose init never returns: the start waits for it until its deadline."""
    info = tmp_path / "packages" / "endless-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: endless\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[corten.plugins]\nit = endless:plugin\n")
    (tmp_path / "packages" / "endless.py").write_text(
        "import time\nfrom corten.plugin.model import Registration\nfrom corten.plugin.types import SNAPSHOTTER\n"
        "def plugin(): return Registration(SNAPSHOTTER, 'endless', lambda context: time.sleep(1000))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    daemon = subprocess.Popen([CORTEND, *own(tmp_path), "-l", "debug"], stderr=subprocess.PIPE, env=env, text=True)
    assert daemon.stderr is not None
    with daemon.stderr as log:
        for line in log:
            if "plugin io.containerd.content.v1.content: started" in line:
                break
        daemon.terminate()
        assert daemon.wait(8) == 0
