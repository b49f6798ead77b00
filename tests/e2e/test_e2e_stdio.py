"""Streams through an unmodified ctr, on the own shim and on Debian's: clients end, leave, come back, or are slow."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from counts import count
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration
_BINARY = shutil.which("containerd-shim-runc-v2") or ""


@pytest.fixture(autouse=True)
def _runc_folders() -> Iterator[None]:
    """Debian's shim leaves an empty folder for each namespace where the host's runc keeps its state."""
    yield
    for folder in Path("/run/containerd/runc").glob(f"e2e-{os.getpid()}-*"):
        folder.rmdir()


@pytest.fixture(params=["own", "binary"])
def runtime(request: pytest.FixtureRequest) -> str:
    """The name or path to give as `--runtime`."""
    if request.param == "own":
        return "io.containerd.runc.v2"
    if not _BINARY:
        pytest.skip("no containerd-shim-runc-v2 on PATH")
    return _BINARY


def test_what_is_piped_in_comes_out_and_ends(ctr: Ctr, pulled: str) -> None:
    """ctr loses the end of its input if that comes before its task is there, and containerd waits for ever then."""
    for number in range(5):
        assert ctr("run", "--rm", pulled, f"in{number}", "cat", input="x\n") == "x\n"


def test_input_that_comes_later_ends_too(ctr: Ctr, pulled: str, runtime: str) -> None:
    client = ctr.start("run", "--rm", "--runtime", runtime, pulled, "in", "cat")
    wait_until(lambda: "RUNNING" in ctr("tasks", "ls"), "the task runs")
    assert client.communicate("x\n", timeout=30)[0] == "x\n"


def test_stdin_without_a_word_stays_open(ctr: Ctr, pulled: str, runtime: str) -> None:
    ctr("run", "-d", "--runtime", runtime, pulled, "stays", "cat")
    time.sleep(0.5)
    assert "RUNNING" in ctr("tasks", "ls")
    ctr("tasks", "rm", "-f", "stays")


def test_an_exec_returns_while_its_background_child_lives(ctr: Ctr, pulled: str, runtime: str) -> None:
    ctr("run", "-d", "--runtime", runtime, pulled, "bg", "sleep", "100")
    started = time.monotonic()
    assert ctr("tasks", "exec", "--exec-id", "e", "bg", "sh", "-c", "sleep 999 & echo done", timeout=60) == "done\n"
    assert time.monotonic() - started < 30
    ctr("tasks", "rm", "-f", "bg")


def test_a_client_leaves_and_another_goes_on(ctr: Ctr, pulled: str, runtime: str) -> None:
    script = "trap 'exit 3' TERM; i=0; while true; do echo $i; i=$((i+1)); sleep 0.02; done"
    ctr("run", "-d", "--runtime", runtime, pulled, "talk", "sh", "-c", script)
    with ctr.start("tasks", "attach", "talk") as first:
        assert first.stdout is not None
        before = int(first.stdout.readline())
        first.send_signal(signal.SIGKILL)
    with ctr.start("tasks", "attach", "talk") as second:
        assert second.stdout is not None
        assert int(second.stdout.readline()) > before
        ctr("tasks", "exec", "--exec-id", "e", "talk", "true")
        ctr("tasks", "kill", "-s", "SIGTERM", "talk")  # by the exec its own end could come before that of the exec
        second.stdout.read()
    assert second.returncode == 3


def test_a_container_cannot_read_its_own_output(ctr: Ctr, pulled: str, runtime: str) -> None:
    done = ctr.try_("run", "--rm", "--runtime", runtime, pulled, "back", "sh", "-c", "echo word; cat <&1", timeout=30)
    assert done.stdout == "word\n"
    assert "Bad file descriptor" in done.stderr
    done = ctr.try_("run", "--rm", "--runtime", runtime, pulled, "fore", "sh", "-c", "echo lost >&0", timeout=30)
    assert done.returncode != 0 or "lost" not in done.stdout


def test_a_client_that_stops_reading_for_a_while_gets_everything(ctr: Ctr, pulled: str, runtime: str) -> None:
    script = "seq 300000; echo the end"
    with ctr.start("run", "--rm", "--runtime", runtime, pulled, "slow", "sh", "-c", script) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "1\n"
        client.send_signal(signal.SIGSTOP)
        time.sleep(2)
        client.send_signal(signal.SIGCONT)
        out = client.stdout.read()
    assert out == "".join(f"{number}\n" for number in range(2, 300001)) + "the end\n"


def test_a_container_whose_reader_vanished_can_be_ended(ctr: Ctr, pulled: str, runtime: str) -> None:
    script = "while true; do echo words; done"
    with ctr.start("run", "--runtime", runtime, pulled, "alone", "sh", "-c", script) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.send_signal(signal.SIGKILL)
    assert "alone" in ctr("tasks", "ls")
    ctr("tasks", "kill", "-s", "KILL", "alone")
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task is stopped")
    ctr("tasks", "rm", "alone", timeout=60)


def test_megabytes_through_a_client_are_unharmed(ctr: Ctr, pulled: str, runtime: str) -> None:
    size = count("MiB through a client") << 20
    words = ("run", "--rm", "--runtime", runtime, pulled, "much", "sh", "-c", f"yes 0123456789abcde | head -c {size}")
    seen, got = hashlib.sha256(), 0
    with subprocess.Popen(ctr.argv(*words), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        while piece := client.stdout.read(1 << 20):
            seen.update(piece)
            got += len(piece)
    assert (client.returncode, got) == (0, size)
    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(b"0123456789abcde\n" * (1 << 16))
    assert seen.hexdigest() == expected.hexdigest()


def test_a_log_uri_takes_the_output(ctr: Ctr, pulled: str, runtime: str, tmp_path: os.PathLike[str]) -> None:
    path = f"{tmp_path}/out.log"
    ctr("run", "--runtime", runtime, "--log-uri", f"file://{path}", "-d", pulled, "logged", "sh", "-c", "echo a word")
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task is stopped")
    ctr("tasks", "rm", "logged")
    with open(path) as log:
        assert log.read() == "a word\n"
