"""One cortend with one image for the tests of this folder that need a daemon."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from daemon import Daemon, remove_cgroups, running_daemon

IMAGE = "corten.local/busybox:latest"


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
