"""`corten run` with what a container may have and do: each option, in a real container where it shows."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corten.cli import specs
from corten.errors import CortenError
from corten.oci.options import Rlimit
from daemon import Daemon

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cli")]
IMAGE = "corten.local/busybox:latest"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
GIVEN: dict[str, Any] = {
    **dict.fromkeys(("command", "env", "env_file", "mount", "cap_add", "cap_drop", "annotation"), ()),
    **dict.fromkeys(("device", "tmpfs", "ulimit", "sysctl"), ()),
    **dict.fromkeys(("workdir", "hostname", "cgroup", "cpuset_cpus"), ""),
    **dict.fromkeys(("entrypoint", "memory", "memory_swap", "shm_size", "seccomp", "apparmor")),
    **dict.fromkeys(("tty", "read_only", "privileged", "net_host", "allow_new_privs"), False),
    "cpus": 0.0,
    "cpu_shares": 0,
    "pids_limit": 0,
}


def spec(**fields: Any) -> Any:
    return specs.spec_of({**GIVEN, **fields})


def test_words_become_options() -> None:
    made = spec(ulimit=("core=0", "nproc=5:unlimited"), memory="64m", memory_swap="-1", cpuset_cpus="0", shm_size="1m")
    assert made.rlimits == (
        Rlimit("RLIMIT_NOFILE", 1024, 1024),
        Rlimit("RLIMIT_CORE", 0, 0),
        Rlimit("RLIMIT_NPROC", 5, 2**64 - 1),
    )
    assert (made.resources.memory, made.resources.memory_swap, made.resources.cpuset_cpus) == (64 << 20, -1, "0")
    assert made.shm_size == 1 << 20
    assert [device.path for device in spec(device=("/dev/null:/dev/zilch:r",)).devices] == ["/dev/zilch"]
    assert spec(ulimit=("nofile=7",)).rlimits == (Rlimit("RLIMIT_NOFILE", 7, 7),)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ulimit": ("fly=1",)}, "no limit 'fly'"),
        ({"ulimit": ("core",)}, "NAME=SOFT"),
        ({"ulimit": ("core=x",)}, "NAME=SOFT"),
        ({"ulimit": ("nofile=5:3",)}, "above the hard one"),
        ({"ulimit": ("nofile=unlimited:3",)}, "above the hard one"),
        ({"device": ("/no/such",)}, "/no/such"),
        ({"device": ("/dev/null::rx",)}, "letters r, w and m"),
        ({"device": ("/proc/self/attr",)}, "none in this folder"),
        ({"seccomp": "/no/such"}, "/no/such"),
        ({"tmpfs": ("/x:y",)}, "'y'"),
        ({"sysctl": ("net.ipv4.ip_forward",)}, "KEY=value"),
        ({"memory": "64m", "memory_swap": "32m"}, "needs --memory"),
        ({"memory_swap": "32m"}, "needs --memory"),
        ({"env": ("=x",)}, "KEY to take it from here"),
    ],
)
def test_words_that_are_none(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(CortenError, match=says):
        spec(**fields)


@pytest.fixture
def run(daemon: Daemon) -> Iterator[Run]:
    def call(*args: str) -> "subprocess.CompletedProcess[str]":
        return daemon.corten("run", "--rm", *args, namespace="cli")

    yield call


def test_a_container_has_what_was_asked_for(run: Run) -> None:
    port = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    script = f"cat /dev/zilch; ulimit -n; cat {port}; id -G; grep -c scratch /proc/mounts"
    done = run(
        *("--device", "/dev/null:/dev/zilch", "--ulimit", "nofile=512", "--group-add", "1234"),
        *("--sysctl", "net.ipv4.ip_unprivileged_port_start=80", "--tmpfs", "/scratch:1m", "--shm-size", "2m"),
        *("--seccomp", "default", IMAGE, "sh", "-c", script),
    )
    assert (done.returncode, done.stdout.split()) == (0, ["512", "80", "0", "1234", "1"]), done.stderr


def test_a_seccomp_profile_of_a_file(run: Run, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    assert run("--seccomp", str(profile), IMAGE, "mkdir", "/x").returncode != 0
    assert run(IMAGE, "mkdir", "/x").returncode == 0
