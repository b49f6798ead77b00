"""nerdctl on cortend: images, containers with nerdctl as logger and OCI hook, and restarts over a kill of cortend.

There is no Debian package of it: CORTEN_NERDCTL names the program. Networks are not made: those are of the host.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon import Daemon, remove_cgroups, running_daemon
from peers import Ctr, wait_until

NERDCTL = os.environ.get("CORTEN_NERDCTL", "")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not NERDCTL, reason="no CORTEN_NERDCTL in the environment"),
    pytest.mark.xdist_group("nerdctl"),
]
NAMESPACE = f"nerdctl-{os.getpid()}"
RUN = ("run", "--net", "none")
SLEEP = ("sh", "-c", "trap 'exit 0' TERM; echo up; echo down >&2; while :; do sleep 0.1; done")


@dataclass
class Nerdctl:
    """The command on its own folders; `image` is pulled already."""

    cortend: Daemon
    image: str

    def try_(self, *args: str) -> "subprocess.CompletedProcess[str]":
        folder = self.cortend.folder
        own = ["--address", self.cortend.address, "--namespace", NAMESPACE, "--data-root", f"{folder}/nerdctl"]
        cni = ["--cni-path", "/usr/lib/cni", "--cni-netconfpath", f"{folder}/cni"]
        argv = [NERDCTL, *own, *cni, "--snapshotter", "overlayfs", "--insecure-registry", *args]
        env = {**os.environ, "NERDCTL_TOML": f"{folder}/none", "DOCKER_CONFIG": f"{folder}/login"}
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)

    def __call__(self, *args: str) -> str:
        done = self.try_(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, name: str, field: str = "Status") -> str:
        return self("inspect", name, "--format", f"{{{{.State.{field}}}}}").strip()

    def wait_logged(self, name: str, text: str) -> None:
        wait_until(lambda: text in self("logs", name), f"{text!r} is in the log of {name}")


@pytest.fixture(scope="module")
def nerdctl(reference: str) -> Iterator[Nerdctl]:
    with running_daemon() as cortend:
        made = Nerdctl(cortend, reference)
        made("pull", "-q", reference)
        yield made
        for name in made("ps", "-aq").split():
            made("rm", "-f", "-v", name)
    remove_cgroups(NAMESPACE)


def test_what_a_container_prints_and_its_exit_status_arrive(nerdctl: Nerdctl) -> None:
    assert nerdctl(*RUN, "--rm", "--env", "A=b", nerdctl.image, "sh", "-c", "echo $A") == "b\n"
    assert nerdctl.try_(*RUN, "--rm", nerdctl.image, "sh", "-c", "exit 7").returncode == 7
    assert nerdctl.try_(*RUN, "--rm", nerdctl.image, "not-there").returncode != 0
    assert nerdctl("ps", "-aq") == ""


def test_a_container_from_its_start_to_its_removal(nerdctl: Nerdctl) -> None:
    nerdctl(*RUN, "-d", "--name", "whole", "--memory", "64m", nerdctl.image, *SLEEP)
    nerdctl.wait_logged("whole", "up")
    assert nerdctl.try_("logs", "whole").stderr == "down\n"
    assert nerdctl("exec", "whole", "echo", "inside") == "inside\n"
    nerdctl("pause", "whole")
    assert nerdctl.state("whole") == "paused" and nerdctl.try_("exec", "whole", "true").returncode != 0
    nerdctl("unpause", "whole")
    nerdctl("rename", "whole", "renamed")
    assert "renamed" in nerdctl("stats", "--no-stream", "renamed") and "sleep" in nerdctl("top", "renamed")
    nerdctl("stop", "renamed")
    assert (nerdctl.state("renamed"), nerdctl.state("renamed", "ExitCode")) == ("exited", "0")
    nerdctl("start", "renamed")
    nerdctl("kill", "renamed")
    assert nerdctl("wait", "renamed") == "137\n"
    nerdctl("rm", "renamed")
    assert nerdctl("ps", "-aq") == ""


def test_an_image_that_is_committed_saved_and_loaded_again_runs(nerdctl: Nerdctl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("copied\n")
    nerdctl(*RUN, "-d", "--name", "base", nerdctl.image, *SLEEP)
    nerdctl("cp", f"{tmp_path}/file", "base:/etc/copied")
    assert "A /etc/copied" in nerdctl("diff", "base").splitlines()
    nerdctl("commit", "-m", "a message", "base", "made:1")
    nerdctl("rm", "-f", "base")
    nerdctl("save", "-o", f"{tmp_path}/made.tar", "made:1")
    nerdctl("rmi", "made:1")
    assert "made:1" in nerdctl("load", "-i", f"{tmp_path}/made.tar")
    assert nerdctl(*RUN, "--rm", "made:1", "cat", "/etc/copied") == "copied\n"
    assert json.loads(nerdctl("history", "--format", "{{json .}}", "made:1").splitlines()[0])["Comment"] == "a message"


def test_an_image_is_tagged_pushed_and_converted(nerdctl: Nerdctl) -> None:
    again = f"{nerdctl.image.partition('/')[0]}/nerdctl/again:1"
    nerdctl("tag", nerdctl.image, again)
    nerdctl("push", "-q", again)
    nerdctl("rmi", again)
    nerdctl("pull", "-q", again)
    nerdctl("image", "convert", "--zstd", "--oci", again, "zstd:1")
    assert nerdctl(*RUN, "--rm", "zstd:1", "echo", "converted") == "converted\n"


def test_a_failing_container_is_started_again_as_often_as_asked(nerdctl: Nerdctl) -> None:
    nerdctl(*RUN, "-d", "--name", "fails", "--restart", "on-failure:1", nerdctl.image, "sh", "-c", "echo try; exit 3")
    wait_until(lambda: nerdctl("logs", "fails") == "try\ntry\n", "the second try is logged", 60.0)
    wait_until(lambda: nerdctl.state("fails", "ExitCode") == "3", "the second try has ended")
    nerdctl("rm", "-f", "fails")


def test_containers_and_restarts_outlive_a_kill_of_cortend(nerdctl: Nerdctl) -> None:
    nerdctl(*RUN, "-d", "--name", "stays", nerdctl.image, *SLEEP)
    script = "echo first; while [ ! -e /stop ]; do sleep 0.1; done; echo last"
    nerdctl(*RUN, "-d", "--name", "ends", "--restart", "always", nerdctl.image, "sh", "-c", script)
    pid = nerdctl.state("stays", "Pid")
    nerdctl("exec", "ends", "true")
    nerdctl.cortend.kill()
    nerdctl.cortend.start()
    assert nerdctl.state("stays", "Pid") == pid
    assert nerdctl("exec", "stays", "echo", "inside") == "inside\n"
    nerdctl("exec", "ends", "touch", "/stop")
    # nerdctl's logger ends with the daemon, whichever it is: what the first run prints after that is lost
    wait_until(lambda: "last\n" in nerdctl("logs", "ends"), "it is started again, with a logger", 60.0)
    nerdctl("stop", "stays")
    nerdctl("rm", "stays")
    nerdctl("rm", "-f", "ends")
    assert Ctr(nerdctl.cortend.address, NAMESPACE)("tasks", "ls", "-q") == ""
