"""How processes end for whoever waits for them: left by the detach keys, hung up on, out of memory."""

import json
import shutil
import subprocess
import time
from typing import Any

import pytest
from cli.conftest import IMAGE, Corten
from cli.typing import Terminal
from corten.cli import exits
from daemon import CORTEN, Daemon
from peers import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cli")]
HOG = "x=$(yes | head -c 60000000)"
"""More than the limit of the tests, kept by the shell itself."""
RUNTIMES = ["io.containerd.runc.v2", *filter(None, [shutil.which("containerd-shim-runc-v2")])]
LIMIT = ("--memory", "20m")


def record(corten: Corten, id: str) -> dict[str, Any]:
    (found,) = (each for each in json.loads(corten("ps", "-a", "--format", "json").stdout) if each["id"] == id)
    return dict(found)


def test_an_exec_that_is_left_runs_on_and_stands_still_for_nobody(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "web", IMAGE, "sleep", "600")
    script = "echo rea''dy; read go; head -c 8000000 /dev/zero; touch /done; sleep 600"
    terminal = Terminal(daemon, "exec", "-t", "web", "sh", "-c", script)
    terminal.until(b"ready")
    terminal.type(b"\n\x10\x11")
    terminal.until(b"corten top web")
    assert terminal.ended() == 0
    wait_until(lambda: "done" in corten("exec", "web", "ls", "/").stdout, "it has written all, though nobody reads")
    assert corten("top", "web").stdout.count("sleep 600") >= 2


def test_keys_of_ones_own_leave_an_exec_and_no_keys_leave_none(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "web", IMAGE, "sleep", "600")
    own = Terminal(daemon, "exec", "-t", "--detach-keys", "ctrl-a,d", "web", "sh")
    own.type(b"echo \x10\x11 mar''ker\n")
    own.until(b"marker")
    own.type(b"\x01d")
    own.until(b"detached")
    assert own.ended() == 0
    none = Terminal(
        daemon, "exec", "-t", "--detach-keys", "", "web", "sh", "-c", "stty -echo -ixon; echo rea''dy; head -n1"
    )
    none.until(b"ready")
    none.type(b"\x10\x11end\n")
    none.until(b"\x10\x11end")
    assert none.ended() == 0
    wrong = Terminal(daemon, "exec", "-t", "--detach-keys", "ctrl-pp", "web", "sh")
    wrong.until(b"detach keys")
    assert wrong.ended() == exits.NOT_RUN


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_client_that_is_killed_leaves_no_fifos(daemon: Daemon, corten: Corten, runtime: str) -> None:
    corten("run", "-d", "--name", "web", "--runtime", runtime, IMAGE, "sleep", "600")
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "exec", "-i", "web", "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("through\n")
        process.stdin.flush()
        assert process.stdout.readline() == "through\n"
        process.kill()  # the fixture sees to it that no FIFOs are left when the container goes


def test_an_exec_ends_with_its_terminal(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "web", IMAGE, "sleep", "600")
    terminal = Terminal(daemon, "exec", "-t", "web", "sh", "-c", "echo rea''dy; sleep 601")
    terminal.until(b"ready")
    assert terminal.hang_up() == 128 + 1
    assert "sleep 601" not in corten("top", "web").stdout


def test_a_container_that_ran_out_of_memory_is_said_to_have(daemon: Daemon, corten: Corten) -> None:
    done = corten("run", "--name", "hog", *LIMIT, IMAGE, "sh", "-c", HOG, code=137)
    assert "'hog': it ran out of memory (its limit is 20.0 MiB)" in done.stderr
    daemon.restart()
    assert record(corten, "hog")["oom_killed"] is True
    assert "exited (137, out of memory)" in corten("ps", "-a").stdout
    assert json.loads(corten("inspect", "hog").stdout)[0]["task"]["oom_killed"] is True
    waited = corten("wait", "hog", code=137)
    assert waited.stdout == "137\n" and "ran out of memory" in waited.stderr
    assert "ran out of memory" in corten("run", "--rm", *LIMIT, IMAGE, "sh", "-c", HOG, code=137).stderr


def test_one_that_was_killed_otherwise_is_not(corten: Corten) -> None:
    corten("run", "-d", "--name", "web", *LIMIT, IMAGE, "sleep", "600")
    corten("kill", "web")
    assert corten("wait", "web", code=137).stderr == ""
    assert record(corten, "web")["oom_killed"] is False
    assert "exited (137)" in corten("ps", "-a").stdout


def test_a_child_or_an_exec_that_is_killed_for_memory_is_seen_while_the_container_runs(corten: Corten) -> None:
    corten("run", "-d", "--name", "web", *LIMIT, IMAGE, "sleep", "600")
    assert corten("exec", "web", "false", code=1).stderr == ""
    assert "ran out of memory" in corten("exec", "web", "sh", "-c", HOG, code=137).stderr
    assert json.loads(corten("inspect", "web").stdout)[0]["task"]["oom_killed"] is True
    assert corten("exec", "web", "false", code=1).stderr == "", "that was another"
    corten("stop", "--time", "0", "web")
    corten("start", "web")
    assert json.loads(corten("inspect", "web").stdout)[0]["task"]["oom_killed"] is False, "it is another task"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_that_is_left_runs_on_and_keeps_its_words(daemon: Daemon, corten: Corten, runtime: str) -> None:
    talk = "while :; do echo o''n; sleep 0.1; done"
    script = f"echo fir''st; read go; head -c 4000000 /dev/zero; echo; {talk} & read code; exit $code"
    terminal = Terminal(daemon, "run", "-t", "--name", "shell", "--runtime", runtime, IMAGE, "sh", "-c", script)
    terminal.until(b"first")
    terminal.type(b"\n\x10\x11")
    terminal.until(b"corten attach shell")
    assert terminal.ended() == 0
    wait_until(lambda: "on" in corten("logs", "-n", "1", "shell").stdout, "it has written all, though nobody reads")
    assert corten("logs", "shell").stdout.startswith("first")
    again, hung = Terminal(daemon, "attach", "shell"), Terminal(daemon, "attach", "shell")
    again.until(b"on")
    hung.until(b"on")
    assert hung.hang_up() == 0
    again.type(b"7\n")
    assert again.ended() == 7
    third = Terminal(daemon, "start", "--attach", "shell")
    third.until(b"first")
    assert third.hang_up() == 0
    wait_until(lambda: corten("logs", "shell").stdout.count("first") == 2, "the log goes on")


@pytest.mark.parametrize("begun", ["run", "attach"])
def test_a_terminal_that_takes_nothing_holds_up_its_container_alone(daemon: Daemon, corten: Corten, begun: str) -> None:
    """splice(2) to a full terminal keeps the FIFO locked, and hung a shim that wrote to it, with all that it serves."""
    script = "read go; while :; do head -c 4000000 /dev/zero; done"
    if begun == "attach":
        corten("run", "-d", "-t", "--name", "flood", IMAGE, "sh", "-c", script)
        terminal = Terminal(daemon, "attach", "flood")
    else:
        terminal = Terminal(daemon, "run", "-t", "--name", "flood", "--log", "none", IMAGE, "sh", "-c", script)
    terminal.type(b"\n")
    terminal.until(b"\0" * 100_000)
    time.sleep(1)
    assert corten("exec", "flood", "echo", "here").stdout == "here\n"
    corten("kill", "flood")
    assert terminal.ended() == 137


def test_who_has_started_a_container_may_take_his_time_over_its_output(daemon: Daemon, corten: Corten) -> None:
    """More than FIFOs and the terminal hold, and longer than others who are attached may hold it up."""
    script = "head -c 4000000 /dev/zero | tr '\\0' x; echo la''st"
    terminal = Terminal(daemon, "run", "--rm", "-t", IMAGE, "sh", "-c", script)
    terminal.until(b"x")
    time.sleep(3)
    terminal.until(b"last", timeout=60)
    assert terminal.seen.count(b"x") == 4_000_000
    assert terminal.ended() == 0
