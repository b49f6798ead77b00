"""The command against a real cortend with real containers: what a person types, and what comes of it."""

import json
import signal
import subprocess
import time
from pathlib import Path

import images
import pytest
from cli.conftest import IMAGE, Corten
from cli.typing import Terminal
from corten.cli import exits
from daemon import CORTEN, Daemon
from peers import registry, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cli")]


def listed(corten: Corten, *args: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(corten(*args, "--format", "json").stdout)
    return found


def test_run_gives_output_and_exit_code(corten: Corten) -> None:
    done = corten("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert listed(corten, "ps", "--all") == []


def test_run_passes_input_to_its_end(corten: Corten) -> None:
    text = "line\n" * 50_000
    assert corten("run", "--rm", "-i", IMAGE, "cat", input=text).stdout == text


def test_run_without_input_sees_none(corten: Corten) -> None:
    assert corten("run", "--rm", IMAGE, "cat", input="not for it").stdout == ""


def test_run_takes_many_bytes_through_a_pipe(corten: Corten) -> None:
    done = corten("run", "--rm", IMAGE, "sh", "-c", "yes | head -c 20000000")
    assert len(done.stdout) == 20_000_000


def test_options_reach_the_container(corten: Corten, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    tmp_path.chmod(0o755)
    script = "id -u; id -g; pwd; echo $A; hostname; touch /x 2>/dev/null || echo sealed; cat /mnt/file"
    done = corten(
        "run", "--rm", "--user", "nobody", "--workdir", "/tmp", "--env", "A=b c", "--hostname", "box", "--read-only",
        "--mount", f"type=bind,src={tmp_path},dst=/mnt,options=rbind:ro", IMAGE, "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["65534", "65534", "/tmp", "b c", "box", "sealed", "from the host"]


def test_limits_reach_the_kernel(corten: Corten) -> None:
    corten(
        "run", "-d", "--name", "small", "--memory", "32m", "--cpus", "0.5", "--pids-limit", "50", IMAGE, "sleep", "99"
    )
    pid = listed(corten, "ps")[0]["pid"]
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "memory" in groups:
        assert Path(f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes").read_text() == f"{32 << 20}\n"
        assert Path(f"/sys/fs/cgroup/pids{groups['pids']}/pids.max").read_text() == "50\n"
        assert groups["memory"] == "/cli/small"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ([IMAGE, "no-such-command"], exits.NO_COMMAND, "not found"),
        ([IMAGE, "/etc/passwd"], exits.NOT_EXECUTABLE, "permission denied"),
        (["--user", "nosuch", IMAGE, "true"], exits.NOT_RUN, "nosuch"),
        (["--snapshotter", "nosuch", IMAGE, "true"], exits.NOT_RUN, "nosuch"),
        (["--runtime", "io.containerd.nosuch.v1", IMAGE, "true"], exits.NOT_RUN, "nosuch"),
        (["--pull", "never", "nosuch", "true"], exits.NOT_RUN, "docker.io/library/nosuch:latest"),
        (["--name", "no/slash", IMAGE, "true"], exits.NOT_RUN, "container name"),
        (["-d", "-t", "--detach-keys", "ctrl-pp", IMAGE, "true"], exits.NOT_RUN, "detach keys"),
    ],
)
def test_what_cannot_run_leaves_nothing(corten: Corten, args: list[str], code: int, says: str) -> None:
    done = corten("run", *args, code=code)
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert listed(corten, "ps", "--all") == []
    assert all(snapshot["kind"] == "committed" for snapshot in listed(corten, "snapshots", "ls"))


def test_a_failed_start_names_the_container(corten: Corten) -> None:
    for command, code in (("nosuch", exits.NO_COMMAND), ("/etc/passwd", exits.NOT_EXECUTABLE)):
        done = corten("run", "--name", "web", IMAGE, command, code=code)
        assert done.stderr.startswith("corten: container 'web': OCI runtime create failed")


def test_life_of_a_container(corten: Corten) -> None:
    assert corten("run", "-d", "--name", "web", IMAGE, "sleep", "600").stdout == "web\n"
    (found,) = listed(corten, "ps")
    assert (found["id"], found["status"], found["command"]) == ("web", "running", ["sleep", "600"])
    assert "web" in corten("ps").stdout
    assert "--name" not in corten("run", "--name", "web", IMAGE, code=exits.NOT_RUN).stderr
    assert "corten stop web" in corten("rm", "web", code=exits.CONFLICT).stderr
    assert corten("stop", "--time", "0.5", "web").stdout == "web\n"
    assert listed(corten, "ps") == []
    assert listed(corten, "ps", "--all")[0]["exit_status"] == 137
    corten("start", "web")
    assert listed(corten, "ps")[0]["status"] == "running"
    corten("kill", "--signal", "KILL", "web")
    assert corten("wait", "web", code=137).stdout == "137\n"
    assert corten("rm", "web").stdout == "web\n"
    assert "web" in corten("rm", "web", code=exits.NOT_FOUND).stderr


def test_pause_and_resume(corten: Corten) -> None:
    corten("run", "-d", "--name", "one", IMAGE, "sleep", "600")
    corten("run", "-d", "--name", "two", IMAGE, "sleep", "600")
    assert corten("pause", "one", "two").stdout.split() == ["one", "two"]
    assert {each["status"] for each in listed(corten, "ps")} == {"paused"}
    assert "corten resume" in corten("exec", "one", "true", code=exits.NOT_RUN).stderr
    assert "paused" in corten("pause", "one", code=exits.CONFLICT).stderr
    corten("resume", "one")
    corten("exec", "one", "true")
    assert "running" in corten("resume", "one", code=exits.CONFLICT).stderr
    corten("stop", "--time", "0.5", "two")
    assert "stopped" in corten("resume", "two", code=exits.CONFLICT).stderr
    assert "see `corten ps -a`" in corten("pause", "nosuch", code=exits.NOT_FOUND).stderr


def test_several_at_once_one_failing(corten: Corten) -> None:
    corten("run", "-d", "--name", "one", IMAGE, "sleep", "600")
    corten("run", "-d", "--name", "two", IMAGE, "sleep", "600")
    done = corten("rm", "--force", "one", "nosuch", "two", code=exits.NOT_FOUND)
    assert done.stdout.split() == ["one", "two"] and "nosuch" in done.stderr
    assert listed(corten, "ps", "--all") == []


def test_exec(corten: Corten) -> None:
    corten("run", "-d", "--name", "web", "--env", "A=1", IMAGE, "sleep", "600")
    assert corten("exec", "-i", "web", "cat", input="typed").stdout == "typed"
    assert corten("exec", "--env", "B=2", "web", "sh", "-c", "echo $A$B; exit 9", code=9).stdout == "12\n"
    assert (
        corten("exec", "--user", "nobody", "--workdir", "/bin", "web", "sh", "-c", "id -u; pwd").stdout
        == "65534\n/bin\n"
    )
    assert "sleep 600" in corten("exec", "web", "ps").stdout
    corten("exec", "--detach", "web", "touch", "/done")
    wait_until(lambda: corten("exec", "web", "ls", "/").stdout.count("done"), "the detached exec ran")
    done = corten("exec", "web", "nosuch", code=exits.NO_COMMAND)
    assert done.stderr.startswith("corten: container 'web': ") and "not found" in done.stderr
    corten("exec", "nosuch", "true", code=exits.NOT_RUN)


def test_signals_go_to_the_container(daemon: Daemon, corten: Corten) -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "run", "--rm", IMAGE, "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(20) == 5


def test_the_third_signal_kills_what_ignores_them(daemon: Daemon, corten: Corten) -> None:
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "run", "--rm", IMAGE, "sleep", "600"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: listed(corten, "ps"), "the container runs")
        for _ in range(3):
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 137
        assert process.stderr is not None and "a third signal kills it" in process.stderr.read()
    assert listed(corten, "ps", "--all") == [] and listed(corten, "leases", "ls") == []


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_daemon_that_is_restarted_is_not_noticed(daemon: Daemon, corten: Corten, how: str) -> None:
    script = "echo ready; read line; echo got $line; exit 4"
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "run", "--rm", "-i", IMAGE, "sh", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)  # the container may be faster than the daemon's answer to Start
        (daemon.stop if how == "stopped" else daemon.kill)()
        time.sleep(0.5)
        daemon.start()
        process.stdin.write("it\n")
        process.stdin.flush()
        assert process.stdout.readline() == "got it\n"
        assert process.wait(20) == 4


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc(5), SigCgt)."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_a_command_that_is_ended_while_it_works_clears_up(daemon: Daemon, corten: Corten) -> None:
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "wait", "web"]
    corten("run", "-d", "--name", "web", IMAGE, "sleep", "600")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: catches(process.pid, signal.SIGTERM), "the command has taken over SIGTERM")
        process.terminate()
        assert process.wait(10) == 143
        assert process.stderr is not None and process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_at_once_is_one(daemon: Daemon, corten: Corten, number: signal.Signals) -> None:
    """As from an impatient person, or from a program that tells its child and its group."""
    argv = [str(CORTEN), "-a", daemon.address, "-n", "cli", "events"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: catches(process.pid, signal.SIGTERM), "the command has taken over the signals")
        process.send_signal(signal.SIGSTOP)  # so that it finds the two together
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        assert process.wait(10) in (0, 128 + number)  # events have no end of their own
        assert process.stderr is not None and process.stderr.read().strip() == ""


def test_the_end_of_a_pipeline_ends_the_process(daemon: Daemon, corten: Corten) -> None:
    command = f"{CORTEN} -a {daemon.address} -n cli run --rm {IMAGE} yes"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -c 10"], capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"y\ny\ny\ny\ny\n" and done.returncode == 141 and done.stderr == b""
    assert listed(corten, "ps", "--all") == []


def test_an_exit_code_stays_to_be_seen(corten: Corten) -> None:
    assert corten("run", "--name", "done", IMAGE, "sh", "-c", "exit 7", code=7).stdout == ""
    assert [(each["status"], each["exit_status"]) for each in listed(corten, "ps", "--all")] == [("stopped", 7)]
    corten("start", "--attach", "done", code=7)
    corten("rm", "done")


def test_an_image_for_another_platform_is_not_run_unasked(corten: Corten) -> None:
    done = corten("run", "--rm", "--pull", "never", "--platform", "linux/s390x", IMAGE, "true", code=125)
    assert "only for linux/amd64" in done.stderr


def test_a_terminal(daemon: Daemon, corten: Corten) -> None:
    terminal = Terminal(daemon, "run", "--rm", "-t", IMAGE, "sh")
    terminal.type(b"tty; echo $TERM; echo mar''ker\n")
    terminal.until(b"marker")
    assert b"/dev/pts/" in terminal.seen and b"xterm" in terminal.seen
    terminal.type(b"exit 6\n")
    assert terminal.ended() == 6


def test_detach_and_attach_again(daemon: Daemon, corten: Corten) -> None:
    terminal = Terminal(daemon, "run", "-t", "--name", "shell", IMAGE, "sh")
    terminal.type(b"echo fir''st\n")
    terminal.until(b"first")
    terminal.type(b"\x10\x11")
    terminal.until(b"corten attach shell")
    assert terminal.ended() == 0
    assert listed(corten, "ps")[0]["status"] == "running"
    again = Terminal(daemon, "attach", "shell")
    again.type(b"echo sec''ond; exit 8\n")
    again.until(b"second")
    assert again.ended() == 8


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.timeout(90)
def test_a_terminal_that_hangs_up_leaves_the_container_to_whoever_comes(
    daemon: Daemon, corten: Corten, attached: bool
) -> None:
    if attached:
        corten("run", "-d", "-t", "--name", "shell", IMAGE, "sh")
        terminal = Terminal(daemon, "attach", "shell")
    else:
        terminal = Terminal(daemon, "run", "-t", "--name", "shell", IMAGE, "sh")
    terminal.type(b"echo fir''st\n")
    terminal.until(b"first")
    assert terminal.hang_up() == 0
    assert listed(corten, "ps")[0]["status"] == "running"
    again = Terminal(daemon, "attach", "shell")
    again.type(b"echo sec''ond; exit 8\n")
    again.until(b"second")
    assert again.ended() == 8


@pytest.mark.timeout(90)
def test_what_prints_for_a_terminal_that_hung_up_ends_if_it_has_none_of_its_own(daemon: Daemon, corten: Corten) -> None:
    chatter = "while :; do echo on and on; sleep 0.05; done"
    terminal = Terminal(daemon, "run", "--name", "chat", IMAGE, "sh", "-c", chatter)
    terminal.until(b"on and on")
    assert terminal.hang_up() == exits.UNREAD
    assert listed(corten, "ps", "--all")[0]["exit_status"] == 137
    own = Terminal(daemon, "run", "-t", "--name", "own", IMAGE, "sh", "-c", f"trap '' HUP; {chatter}")
    own.until(b"on and on")
    assert own.hang_up() == 0
    assert listed(corten, "ps")[0]["status"] == "running"


def test_exec_on_a_terminal(daemon: Daemon, corten: Corten) -> None:
    corten("run", "-d", "--name", "web", IMAGE, "sleep", "600")
    terminal = Terminal(daemon, "exec", "-t", "web", "sh", "-c", "tty; exit 3")
    terminal.until(b"/dev/pts/")
    assert terminal.ended() == 3


def test_images(corten: Corten) -> None:
    (found,) = listed(corten, "images")
    assert (found["name"], found["platform"]) == (IMAGE, "linux/amd64")
    assert "IMAGE" in corten("images").stdout.splitlines()[0]
    assert corten("image", "tag", IMAGE, "again:1").stdout == "docker.io/library/again:1\n"
    assert "--force" in corten("image", "tag", IMAGE, "again:1", code=exits.CONFLICT).stderr
    assert corten("image", "rm", "again:1").stdout == "again:1\n"
    assert corten("images", "--quiet").stdout.split() == [IMAGE]


def test_objects_are_listed_in_both_forms(corten: Corten) -> None:
    blobs, snapshots = listed(corten, "content", "ls"), listed(corten, "snapshots", "ls")
    assert len(blobs) == 4 and len(snapshots) == 2
    assert corten("content", "ls", "--quiet").stdout.split() == [blob["digest"] for blob in blobs]
    manifest = next(blob for blob in blobs if blob["digest"] == listed(corten, "images")[0]["digest"])
    assert json.loads(corten("content", "get", str(manifest["digest"])).stdout)["schemaVersion"] == 2
    assert corten("snapshots", "tree").stdout.splitlines()[1].startswith("  sha256:")
    assert listed(corten, "content", "active") == []
    uris = {str(plugin["uri"]): plugin["state"] for plugin in listed(corten, "plugins", "ls")}
    assert uris["io.containerd.snapshotter.v1.overlayfs"] == "ok"
    assert "overlay" in corten("plugins", "explain", "overlayfs").stdout
    assert "needs io.containerd.content.v1.content" in corten("plugins", "graph").stdout
    assert corten("plugins", "graph", "--format", "svg").stdout.startswith("<svg")
    assert json.loads(corten("info", "--format", "json").stdout)["images"] == 1
    assert json.loads(corten("version", "--format", "json").stdout)["daemon"]["version"]


def test_leases_and_namespaces(corten: Corten) -> None:
    name = corten("leases", "create", "--id", "held", "why=test").stdout.strip()
    assert [(lease["id"], lease["resources"]) for lease in listed(corten, "leases", "ls")] == [(name, 0)]
    assert listed(corten, "leases", "resources", name) == []
    corten("leases", "rm", "--sync", name)
    corten("namespaces", "create", "spare", "a=1")
    corten("namespaces", "label", "spare", "a=", "b=2")
    assert {"name": "spare", "labels": {"b": "2"}} in listed(corten, "namespaces", "ls")
    corten("namespaces", "rm", "spare")
    assert "cli" in corten("namespaces", "rm", "cli", code=exits.CONFLICT).stderr


def test_events(daemon: Daemon, corten: Corten) -> None:
    argv = [str(CORTEN), "-a", daemon.address, "events", "--format", "json", "namespace==cli,topic~=|^/tasks/|"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        time.sleep(1)  # subscribing has no answer to wait for
        corten("run", "--rm", IMAGE, "true")
        topics = [json.loads(process.stdout.readline())["topic"] for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


def test_pull_from_a_registry_and_run(corten: Corten, tmp_path: Path) -> None:
    layout = images.write_layout(tmp_path / "layout", config={"User": "user", "StopSignal": "SIGUSR1"})
    with registry(tmp_path / "registry") as host:
        images.push(layout, f"{host}/app:1")
        name = f"{host}/app:1"
        assert corten("pull", name).stdout.startswith(f"{name} sha256:")
        assert "not found" in corten("pull", f"{host}/nosuch:1", code=exits.NOT_FOUND).stderr
    done = corten(
        "run", "--rm", name, "sh", "-c", "id -u; cat /data/changed; ls /data/opaque; test -e /data/gone || echo gone"
    )
    assert done.stdout.split() == ["1000", "secondnew", "gone"]
    corten("run", "-d", "--name", "own", name, "sh", "-c", "trap 'exit 33' USR1; while :; do sleep 0.1; done")
    time.sleep(0.3)  # for the trap
    corten("stop", "own")
    assert listed(corten, "ps", "--all")[0]["exit_status"] == 33
    corten("rm", "own")
    corten("image", "rm", "--sync", name)
    assert len(listed(corten, "content", "ls")) == 4


def test_bad_archives_are_refused(corten: Corten, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar at all")
    done = corten("import", str(tmp_path / "text.tar"), code=exits.USAGE)
    assert "archive" in done.stderr and len(done.stderr.splitlines()) == 1
