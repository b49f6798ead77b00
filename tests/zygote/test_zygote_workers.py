"""The zygote as the daemon uses it: conformance, failing preloads, death and restart, threads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from corten.errors import Internal, Unavailable
from corten.testing import workers as suite
from corten.zygote.client import Zygote

TARGETS = "corten.testing.workers"


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch([TARGETS])
    yield zygote
    zygote.close()


def test_conforms(zygote: Zygote) -> None:
    suite.check_workers(zygote)
    suite.check_processes(zygote)


def test_the_fake_conforms() -> None:
    suite.check_workers(suite.ThreadWorkers())


def test_a_preload_that_fails_is_named_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves.py").write_text("raise SystemExit('no licence')")
    (tmp_path / "asserts.py").write_text("assert 1 == 2, 'arithmetic'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    zygote = Zygote.launch(["leaves", "asserts", "does.not.exist", TARGETS])
    try:
        failures = zygote.preload_failures()
        assert set(failures) == {"leaves", "asserts", "does.not.exist"}
        assert "no licence" in failures["leaves"]
        assert "arithmetic" in failures["asserts"]
        assert zygote.start(f"{TARGETS}:echo", b"alive").result(10) == b"alive"
    finally:
        zygote.close()


def test_a_zygote_that_died_is_replaced_by_the_next_call(zygote: Zygote) -> None:
    first = zygote.pid
    os.kill(first, signal.SIGKILL)
    assert zygote.start(f"{TARGETS}:echo", b"again").result(10) == b"again"
    assert zygote.pid not in (0, first)


def test_workers_die_with_the_zygote_and_detached_processes_do_not(zygote: Zygote) -> None:
    worker = zygote.start(f"{TARGETS}:sleep", b"60")
    detached, _ = zygote.detach(f"{TARGETS}:linger", b"")
    try:
        zygote.close()
        assert "ended without" in _message(lambda: worker.result(10))
        time.sleep(0.1)
        os.kill(detached, 0)
        with pytest.raises(Unavailable, match="closed"):
            zygote.start(f"{TARGETS}:echo", b"")
    finally:
        os.kill(detached, signal.SIGKILL)


def test_a_process_forked_ahead_is_the_next_that_is_detached(zygote: Zygote) -> None:
    target = f"{TARGETS}:linger"
    for _ in range(2):  # one at a time waits
        zygote.ahead(target)
    (waiting,) = _pids(zygote)
    assert zygote.detach(f"{TARGETS}:linger", b"b", [0])[0] != waiting  # it could not be given a descriptor
    assert zygote.detach(target, b"a") == (waiting, b"ready a")
    another, answer = zygote.detach(target, b"c")
    assert (another != waiting, answer) == (True, b"ready c")
    for pid in _pids(zygote):
        os.kill(pid, signal.SIGKILL)


def test_a_process_forked_ahead_that_was_killed_is_not_missed(zygote: Zygote) -> None:
    zygote.ahead(f"{TARGETS}:linger")
    (waiting,) = _pids(zygote)
    os.kill(waiting, signal.SIGKILL)
    _gone(waiting)
    pid, answer = zygote.detach(f"{TARGETS}:linger", b"a")
    os.kill(pid, signal.SIGKILL)
    assert (pid != waiting, answer) == (True, b"ready a")


def test_a_process_forked_ahead_ends_with_the_client_however_that_ends(zygote: Zygote) -> None:
    zygote.ahead(f"{TARGETS}:linger")
    (waiting,) = _pids(zygote)
    zygote.close()
    _gone(waiting)
    program = (
        "import os, signal, psutil\n"
        "from corten.zygote.client import Zygote\n"
        f"zygote = Zygote.launch(['{TARGETS}'])\n"
        f"zygote.ahead('{TARGETS}:linger')\n"
        "print(*(child.pid for child in psutil.Process(zygote.pid).children()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False).stdout
    _gone(int(printed))


def _pids(zygote: Zygote) -> list[int]:
    return [child.pid for child in psutil.Process(zygote.pid).children()]


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, pid
        time.sleep(0.01)


def test_many_threads_may_start_workers_at_once(zygote: Zygote) -> None:
    with ThreadPoolExecutor(8) as pool:
        workers = pool.map(lambda n: zygote.start(f"{TARGETS}:echo", b"%d" % n), range(40))
        assert [worker.result(30) for worker in workers] == [b"%d" % n for n in range(40)]


def test_nothing_leaks_in_daemon_or_zygote(zygote: Zygote) -> None:
    zygote.start(f"{TARGETS}:echo", b"").result(10)
    before = _descriptors(os.getpid()), _descriptors(zygote.pid)
    for _ in range(20):
        zygote.start(f"{TARGETS}:echo", b"").result(10)
    assert _descriptors(os.getpid()) <= before[0]
    deadline = time.monotonic() + 5  # the zygote closes its ends after it has answered
    while (after := _descriptors(zygote.pid)) > before[1]:
        assert time.monotonic() < deadline, after
        time.sleep(0.01)
    assert _children(zygote.pid) == []


def test_processes_can_be_told_apart_in_ps(zygote: Zygote) -> None:
    worker = zygote.start(f"{TARGETS}:sleep", b"60")
    try:
        eventually = time.monotonic() + 10
        while (line := _command_line(worker.pid)) != f"corten-worker {TARGETS}:sleep":
            assert time.monotonic() < eventually, line
            time.sleep(0.01)
        assert _command_line(zygote.pid) == "corten-zygote"
    finally:
        worker.kill()


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")


def _message(call: object) -> str:
    with pytest.raises(Internal) as caught:
        call()  # type: ignore[operator]
    return caught.value.message


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _children(pid: int) -> list[str]:
    deadline = time.monotonic() + 5
    while (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return children
