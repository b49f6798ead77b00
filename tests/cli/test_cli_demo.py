"""`make demo`: it works, says what it does, and leaves nothing behind, also when it is ended half-way."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from peers import mounts_below, processes_with

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cli")]

DEMO = Path(__file__).parents[2] / "tools/demo.py"


def leftovers(output: str, pid: int) -> list[object]:
    found = re.search(r"/tmp/corten-test-\w+", output)
    assert found, output
    folder = Path(found[0])
    cgroups = [*Path("/sys/fs/cgroup").glob(f"demo-{pid}"), *Path("/sys/fs/cgroup").glob(f"*/demo-{pid}")]
    there = [path for path in (folder, Path(f"/var/log/corten/demo-{pid}")) if path.exists()]
    return [*there, *mounts_below(folder), *processes_with(str(folder)), *cgroups]


def test_demo() -> None:
    with subprocess.Popen(
        [sys.executable, str(DEMO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        output, errors = demo.communicate(timeout=120)
    assert demo.returncode == 0, output + errors
    for step in ("corten import", "corten run", "hello from Linux", "corten exec", "corten rm", "Stopping cortend"):
        assert step in output
    assert leftovers(output, demo.pid) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_demo_ended_half_way_clears_up(number: signal.Signals, code: int) -> None:
    output = ""
    with subprocess.Popen([sys.executable, str(DEMO)], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            output += line
            if "corten ps" in line:
                demo.send_signal(number)
                break
        output += demo.stdout.read()
        assert demo.wait(60) == code
    assert leftovers(output, demo.pid) == []
