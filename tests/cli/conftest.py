"""One cortend with one image for the tests of this folder that need a daemon, and the command `corten` against it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import procfs
import pytest
from daemon import Daemon, remove_cgroups, running_daemon
from peers import wait_until

IMAGE = "corten.local/busybox:latest"
Corten = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """Ready, with `IMAGE` in the namespace `cli`."""
    with running_daemon() as running:
        archive = running.folder / "busybox.tar"
        argv = [sys.executable, "-m", "corten.oci_image.busybox", "--output", str(archive)]
        subprocess.run(argv, check=True, capture_output=True)
        done = running.corten("import", str(archive), namespace="cli")
        assert done.returncode == 0, done.stderr
        yield running
    remove_cgroups("cli")


@pytest.fixture
def corten(daemon: Daemon) -> Iterator[Corten]:
    """`corten …` in the namespace `cli`; the containers that a test leaves are removed after it."""

    def call(*args: str, code: int = 0, input: str | None = None) -> "subprocess.CompletedProcess[str]":
        done = daemon.corten(*args, input=input, namespace="cli")
        assert done.returncode == code, f"corten {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    before = abandoned_fifos()
    yield call
    if left := call("ps", "--all", "--quiet").stdout.split():
        call("rm", "--force", *left)
    assert not list(Path(f"{daemon.folder}/logs").glob("cli/*")), "logs go with their containers"
    # What other tests make and do not open yet does not stay so.
    wait_until(lambda: not abandoned_fifos() - before, "the FIFOs are gone")


def abandoned_fifos() -> set[Path]:
    """Folders of FIFOs that nobody has open; those of containers that run, other tests' too, are open."""
    folders = set(Path("/run").glob("corten-fifo-*"))
    for link in procfs.entries("fd/*") if folders else ():
        with suppress(OSError):
            folders.discard(link.readlink().parent)
    return folders
