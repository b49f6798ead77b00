"""What people do with containers that run in the background: logs, attach, top, stats, inspect, cp, restart."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli.conftest import IMAGE, Corten
from cli.typing import Terminal
from corten.cli import exits
from daemon import CORTEN, Daemon
from peers import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cli-people")]


def record(corten: Corten, id: str) -> dict[str, object]:
    (found,) = (each for each in json.loads(corten("ps", "-a", "--format", "json").stdout) if each["id"] == id)
    return dict(found)


def test_logs_of_a_container_that_has_ended(corten: Corten) -> None:
    corten("run", "-d", "--name", "talk", IMAGE, "sh", "-c", "echo one; echo two >&2; printf three")
    corten("wait", "talk")
    done = corten("logs", "talk")
    assert (done.stdout, done.stderr) == ("one\nthree", "two\n")
    assert corten("logs", "--tail", "1", "talk").stdout == "three"
    stamped = corten("logs", "--timestamps", "talk").stdout.splitlines()[0].split(" ")
    assert stamped[1] == "one" and stamped[0].startswith("20")
    assert corten("logs", "--since", "1h", "talk").stdout == "one\nthree"
    assert corten("logs", "--since", "2100-01-01T00:00:00Z", "talk").stdout == ""
    assert "since" in corten("logs", "--since", "soon", "talk", code=exits.USAGE).stderr


def test_logs_are_followed_to_the_end(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "slow", IMAGE, "sh", "-c", "echo begun; sleep 1; echo done")
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "logs", "-f", "slow"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "begun\ndone\n"
        assert process.wait(10) == 0


def test_logs_go_on_while_the_daemon_is_away(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "on", IMAGE, "sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done")
    daemon.kill()
    time.sleep(1)
    daemon.start()
    corten("wait", "on")
    assert corten("logs", "on").stdout.split() == ["1", "2", "3", "4", "5", "6"]


def test_a_log_elsewhere_or_none(corten: Corten, tmp_path: Path) -> None:
    corten("run", "-d", "--name", "there", "--log", str(tmp_path / "its.log"), IMAGE, "echo", "hi")
    corten("wait", "there")
    assert corten("logs", "there").stdout == "hi\n"
    corten("rm", "there")
    assert (tmp_path / "its.log").exists()
    corten("run", "-d", "--name", "mute", "--log", "none", IMAGE, "echo", "hi")
    assert "keeps no log" in corten("logs", "mute", code=exits.CONFLICT).stderr
    assert "--detach" in corten("run", "--log", "x", IMAGE, code=exits.NOT_RUN).stderr
    uri = f"file://{tmp_path}/as%20uri.log"
    corten("run", "-d", "--name", "uri", "--log", uri, IMAGE, "echo", "hi")
    corten("wait", "uri")
    assert (tmp_path / "as uri.log").exists() and corten("logs", "uri").stdout == "hi\n"
    for other in ("binary:///bin/true", "fifo:///x"):
        assert "path of a file" in corten("run", "-d", "--log", other, IMAGE, "true", code=125).stderr


def test_two_attach_detach_and_come_back(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "-t", "--name", "shell", IMAGE, "sh")
    one, two = (Terminal(daemon, "attach", "shell") for _ in range(2))
    one.type(b"echo fir''st\n")
    one.until(b"first")
    two.type(b"echo mar''ker\n")
    two.until(b"marker")
    one.until(b"marker")
    one.type(b"\x10\x11")
    one.until(b"corten attach shell")
    assert one.ended() == 0
    two.type(b"exit 9\n")
    assert two.ended() == 9
    assert "marker" in corten("logs", "shell").stdout


def test_attach_to_what_was_started_without_a_terminal(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "-i", "--name", "cat", IMAGE, "cat")
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "attach", "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("through\n")
        process.stdin.flush()
        assert process.stdout.readline() == "through\n"
        corten("kill", "cat")
        assert process.wait(20) == 137


def test_the_third_signal_leaves_what_was_only_attached_to(daemon: Daemon, corten: Corten) -> None:
    script = "trap 'echo told' INT; while :; do echo on; sleep 0.1; done"
    corten("run", "-d", "--name", "deaf", IMAGE, "sh", "-c", script)
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "attach", "deaf"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "on\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            assert "told\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert process.returncode == 0 and "a third signal leaves it running" in said and "detached" in said
    assert record(corten, "deaf")["status"] == "running"


def test_processes_and_usage(corten: Corten) -> None:
    corten("run", "-d", "--name", "busy", "--memory", "64m", IMAGE, "sh", "-c", "sleep 601 & while :; do :; done")
    table = corten("top", "busy").stdout
    assert "sleep 601" in table and table.startswith("PID")
    found = json.loads(corten("top", "--format", "json", "busy").stdout)
    assert {process["uid"] for process in found} == {0} and len(found) == 2
    (used,) = json.loads(corten("stats", "--format", "json", "busy").stdout)
    assert used["id"] == "busy" and used["cpu_percent"] > 1 and used["memory_limit"] in (0, 64 << 20)
    assert "busy" in corten("stats", "--no-stream").stdout
    corten("stats", "--no-stream", "nosuch", code=exits.NOT_FOUND)
    corten("top", "nosuch", code=exits.NOT_FOUND)
    corten("run", "--name", "over", IMAGE, "sh", "-c", "exit 7", code=7)
    assert "it has ended (7)" in corten("top", "over", code=exits.CONFLICT).stderr
    assert "does not run" in corten("stats", "--no-stream", "over", code=exits.CONFLICT).stderr
    assert "over" not in corten("stats", "--no-stream").stdout, "only what runs is shown"


def test_inspect_has_all(corten: Corten) -> None:
    corten("run", "-d", "--name", "box", "--env", "A=b", "--label", "k=v", IMAGE, "sleep", "600")
    (found,) = json.loads(corten("inspect", "box").stdout)
    assert found["labels"]["k"] == "v" and "A=b" in found["spec"]["value"]["process"]["env"]
    assert found["task"]["status"] == "running" and found["task"]["processes"] == [found["task"]["pid"]]
    assert found["snapshot"]["kind"] == "active" and found["snapshot"]["mounts"]
    done = corten("inspect", "nosuch", "box", code=exits.NOT_FOUND)
    assert "'nosuch': it does not exist" in done.stderr and json.loads(done.stdout)[0]["id"] == "box"


def test_files_in_and_out(corten: Corten, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/file").write_text("from here")
    corten("run", "-d", "--name", "files", IMAGE, "sleep", "600")
    corten("cp", str(tmp_path / "in"), "files:/srv")
    assert corten("exec", "files", "cat", "/srv/deep/file").stdout == "from here"
    corten("exec", "files", "sh", "-c", "echo out > /srv/own; chown 7:7 /srv/own; ln -s /etc/passwd /srv/link")
    corten("cp", "files:/srv", str(tmp_path / "out"))
    assert (tmp_path / "out/own").read_text() == "out\n" and (tmp_path / "out/own").stat().st_uid == os.geteuid()
    assert (tmp_path / "out/link").is_symlink()
    corten("stop", "--time", "0", "files")
    corten("cp", "-a", "files:/srv/own", str(tmp_path))
    assert (tmp_path / "own").stat().st_uid == 7
    corten("cp", str(tmp_path / "own"), "files:/srv/back")
    corten("start", "files")
    assert corten("exec", "files", "stat", "-c", "%u", "/srv/back").stdout == "0\n"
    assert "one of" in corten("cp", "a", "b", code=exits.USAGE).stderr
    assert "nosuch" in corten("cp", "files:/nosuch", str(tmp_path), code=exits.NOT_FOUND).stderr
    for target in ("files:/no/such/place", "files:/etc/passwd/place"):
        done = corten("cp", str(tmp_path / "in"), target, code=exits.NOT_FOUND)
        place = target.partition(":")[2]
        assert f"copy to '{place}': there is no directory '{os.path.dirname(place)}'" in done.stderr


def test_a_log_is_followed_over_restarts_to_the_last_end(corten: Corten) -> None:
    corten("run", "-d", "--name", "twice", "--restart", "on-failure:1", IMAGE, "sh", "-c", "echo run; exit 3")
    assert corten("logs", "-f", "twice").stdout == "run\nrun\n"
    assert "exited (3)" in corten("ps", "-a").stdout and "twice" not in corten("ps").stdout
    corten("logs", "-f", "twice")


def test_a_container_that_is_to_run_again_does(corten: Corten) -> None:
    corten("run", "-d", "--name", "again", "--restart", "always", IMAGE, "sleep", "600")
    before = record(corten, "again")["pid"]
    corten("kill", "again")
    wait_until(lambda: record(corten, "again")["pid"] not in (0, before), "it runs again", 40)
    corten("kill", "again")  # the monitor pauses for a while before it starts it a second time
    wait_until(lambda: "restarting (137)" in corten("ps").stdout, "that is shown")
    corten("stop", "--time", "0", "again")
    assert record(corten, "again")["status"] == "stopped"
    assert "again" not in corten("ps").stdout and "exited (137)" in corten("ps", "-a").stdout
    assert "restart policy" in corten("run", "-d", "--restart", "often", IMAGE, code=exits.NOT_RUN).stderr
