"""An unmodified ctr runs containers: every way to start, look at, signal and end one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from peers import Ctr, alive, wait_until

pytestmark = pytest.mark.integration


def status(ctr: Ctr, container: str) -> str:
    """The status column of `ctr tasks ls`."""
    rows = [line.split() for line in ctr("tasks", "ls").splitlines()[1:]]
    return next((row[2] for row in rows if row[0] == container), "")


def pid_of(ctr: Ctr, container: str) -> int:
    rows = [line.split() for line in ctr("tasks", "ls").splitlines()[1:]]
    return next(int(row[1]) for row in rows if row[0] == container)


def in_terminal(argv: list[str], typed: bytes = b"") -> tuple[int, bytes]:
    """Run a command on a terminal of its own; exit status and all that appeared."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        os.execvp(argv[0], argv)
    if typed:
        time.sleep(1)
        os.write(fd, typed)
    shown = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_rm_passes_output_and_exit_code_and_leaves_nothing(ctr: Ctr, pulled: str) -> None:
    done = ctr.try_("run", "--rm", pulled, "one", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert ctr("tasks", "ls", "-q") == ctr("containers", "ls", "-q") == ""


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_codes(ctr: Ctr, pulled: str, code: int) -> None:
    assert ctr.try_("run", "--rm", pulled, "code", "sh", "-c", f"exit {code}").returncode == code


def test_a_command_that_does_not_exist_is_named_and_leaves_nothing(ctr: Ctr, pulled: str) -> None:
    done = ctr.try_("run", "--rm", pulled, "none", "/no/such/program")
    assert done.returncode != 0
    assert "/no/such/program" in done.stderr
    assert ctr("tasks", "ls", "-q") == ""


def test_env_cwd_mount_and_hostname(ctr: Ctr, pulled: str, tmp_path: Path) -> None:
    with open(f"{tmp_path}/from-host", "w") as stream:
        stream.write("hello from the host")
    out = ctr(
        *("run", "--rm", "--env", "FOO=bar baz", "--cwd", "/data"),
        *("--mount", f"type=bind,src={tmp_path},dst=/mnt,options=rbind:ro"),
        *(pulled, "env", "sh", "-c", "echo $FOO $FROM_IMAGE; pwd; cat /mnt/from-host; touch /mnt/x || echo read-only"),
    )
    assert out.splitlines() == ["bar baz yes", "/data", "hello from the hostread-only"]


def test_read_only_root(ctr: Ctr, pulled: str) -> None:
    assert ctr.try_("run", "--rm", "--read-only", pulled, "ro", "touch", "/x").returncode == 1


def test_native_snapshotter(ctr: Ctr, pulled: str) -> None:
    ctr("images", "pull", "--plain-http", "--snapshotter", "native", pulled)
    out = ctr("run", "--rm", "--snapshotter", "native", pulled, "n", "sh", "-c", "cat /data/changed; ls /data/opaque")
    assert out == "secondnew\n"


def test_stdin_of_a_container_reaches_its_end(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "in", "sleep", "60")
    assert ctr("tasks", "exec", "--exec-id", "c", "in", "cat", input="x\n" * 1000) == "x\n" * 1000


def test_megabytes_of_output_arrive_whole(ctr: Ctr, pulled: str) -> None:
    out = ctr("run", "--rm", pulled, "big", "sh", "-c", "dd if=/dev/zero bs=1024 count=8192 2>/dev/null; echo end")
    assert len(out) == 8 * 1024 * 1024 + 4
    assert out.endswith("end\n")


def test_detached_life_cycle(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "life", "sleep", "1000")
    assert status(ctr, "life") == "RUNNING"
    pid = pid_of(ctr, "life")
    assert alive(pid)
    assert str(pid) in ctr("tasks", "ps", "life")
    assert ctr("tasks", "metrics", "life").split()
    ctr("tasks", "pause", "life")
    assert status(ctr, "life") == "PAUSED"
    ctr("tasks", "resume", "life")
    assert status(ctr, "life") == "RUNNING"
    ctr("tasks", "kill", "-s", "SIGKILL", "life")
    wait_until(lambda: status(ctr, "life") == "STOPPED", "the task is stopped")
    assert not alive(pid)
    assert "exit code 137" in ctr.try_("tasks", "rm", "life").stderr
    ctr("containers", "rm", "life")


def test_a_running_task_is_not_removed_without_force(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "busy", "sleep", "1000")
    refused = ctr.try_("tasks", "rm", "busy")
    assert refused.returncode != 0
    assert status(ctr, "busy") == "RUNNING"
    ctr.try_("tasks", "rm", "-f", "busy")
    assert status(ctr, "busy") == ""


def test_exec_output_exit_code_and_user(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "box", "sleep", "1000")
    done = ctr.try_("tasks", "exec", "--exec-id", "a", "box", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert ctr("tasks", "exec", "--exec-id", "b", "--user", "1000", "box", "id", "-u") == "1000\n"
    assert ctr("tasks", "exec", "--exec-id", "c", "--cwd", "/data", "box", "readlink", "/proc/self/cwd") == "/data\n"


def test_exec_twice_under_one_id_is_refused_while_it_runs(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "twice", "sleep", "1000")
    ctr("tasks", "exec", "-d", "--exec-id", "same", "twice", "sleep", "1000")
    refused = ctr.try_("tasks", "exec", "--exec-id", "same", "twice", "true")
    assert refused.returncode != 0
    assert "already exists" in refused.stderr
    assert len(ctr("tasks", "ps", "twice").splitlines()) == 3


def test_kill_of_one_exec_leaves_the_container(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "host", "sleep", "1000")
    running = ctr.start("tasks", "exec", "--exec-id", "victim", "host", "sleep", "1000")
    wait_until(lambda: "victim" in ctr("tasks", "ps", "host"), "the exec is listed")
    ctr("tasks", "kill", "-s", "SIGTERM", "--exec-id", "victim", "host")
    out, _ = running.communicate(timeout=20)
    assert running.returncode == 128 + 15, out
    assert status(ctr, "host") == "RUNNING"


def test_kill_of_what_ended_is_not_found(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "short", "true")
    wait_until(lambda: status(ctr, "short") == "STOPPED", "the task is stopped")
    assert "not found" in ctr.try_("tasks", "kill", "short").stderr


def test_attach_shows_what_comes_and_ends_with_the_task(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "talk", "sh", "-c", "sleep 2; echo late words; sleep 1; exit 5")
    attached = ctr.start("tasks", "attach", "talk")
    out, _ = attached.communicate(timeout=30)
    assert "late words" in out
    assert attached.returncode == 5


def test_terminal(ctr: Ctr, pulled: str) -> None:
    script = "test -t 0 && sleep 1; stty size; exit 4"
    code, shown = in_terminal(ctr.argv("run", "--rm", "-t", pulled, "tty", "sh", "-c", script))
    assert code == 4
    assert b"33 111" in shown


def test_terminal_is_typed_into(ctr: Ctr, pulled: str) -> None:
    code, shown = in_terminal(ctr.argv("run", "--rm", "-t", pulled, "typed", "sh"), b"echo $((40+2)); exit 6\n")
    assert b"42" in shown
    assert code == 6


def test_terminal_of_an_exec(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "shell", "sleep", "1000")
    argv = ctr.argv("tasks", "exec", "-t", "--exec-id", "t", "shell", "sh", "-c", "test -t 1 && echo terminal")
    code, shown = in_terminal(argv)
    assert code == 0
    assert b"terminal" in shown


def test_memory_limit_and_pids_are_in_the_metrics(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", "--memory-limit", str(64 << 20), pulled, "small", "sleep", "1000")
    metrics = ctr("tasks", "metrics", "small")
    assert re.search(r"memory\.(usage_in_bytes|usage)\s+\d+", metrics), metrics
    assert "pids.current" in metrics


def test_the_shim_is_a_little_more_killable_than_the_daemon(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "one", "sleep", "1000")
    pid = pid_of(ctr, "one")
    status = Path(f"/proc/{pid}/status").read_text()
    shim = int(re.findall(r"PPid:\s+(\d+)", status)[0])
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{shim}/oom_score_adj").read_text()) == min(mine + 1, 1000)


def test_background_child_does_not_hold_an_exec(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "bg", "sleep", "1000")
    began = time.monotonic()
    ctr("tasks", "exec", "--exec-id", "b", "bg", "sh", "-c", "sleep 999 &")
    assert time.monotonic() - began < 15


def test_events_of_a_run_come_in_order(ctr: Ctr, pulled: str) -> None:
    listening = ctr.start("events")
    time.sleep(1)
    ctr("run", "--rm", pulled, "seen", "true")
    time.sleep(1)
    listening.terminate()
    out, _ = listening.communicate(timeout=20)
    topics = [w for line in out.splitlines() if "seen" in line for w in line.split() if w.startswith("/")]
    tasks = [t for t in topics if t.startswith("/tasks/")]
    assert tasks == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"], out
    assert topics.index("/containers/create") < topics.index("/tasks/create")


def test_a_second_container_of_that_name_is_refused(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "only", "sleep", "1000")
    refused = ctr.try_("run", "--rm", pulled, "only", "true")
    assert "already exists" in refused.stderr
    assert status(ctr, "only") == "RUNNING"


def test_waiting_from_two_clients(ctr: Ctr, pulled: str) -> None:
    """Attach is the Wait of ctr 1.6: both see the code."""
    ctr("run", "-d", pulled, "both", "sh", "-c", "sleep 3; exit 9")
    waiters = [ctr.start("tasks", "attach", "both") for _ in range(2)]
    for waiter in waiters:
        waiter.communicate(timeout=30)
    assert [w.returncode for w in waiters] == [9, 9]


def test_create_then_start(ctr: Ctr, pulled: str) -> None:
    ctr("containers", "create", pulled, "later", "echo", "started")
    assert ctr("containers", "ls", "-q").split() == ["later"]
    done = subprocess.run(ctr.argv("tasks", "start", "later"), capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "started\n"
