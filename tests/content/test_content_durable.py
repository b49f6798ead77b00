"""The order in which a commit reaches the disk, as the kernel sees it: data, then name, then the directory."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMIT = """
import sys
from pathlib import Path
from corten_content._local import LocalContent
with LocalContent(Path(sys.argv[1])).writer("ref") as writer:
    writer.write(b"data")
    print(writer.commit())
"""
CALL = re.compile(r"(\w+)\((.*)\) += 0")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_data_then_name_then_directory(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    argv = ["strace", "-f", "-y", "-qq", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(trace)]
    done = subprocess.run(
        [*argv, sys.executable, "-c", COMMIT, str(tmp_path / "store")], capture_output=True, text=True
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    blob = f"store/blobs/sha256/{done.stdout.strip().removeprefix('sha256:')}"
    calls = [match.groups() for match in map(CALL.search, trace.read_text().splitlines()) if match]
    names = [f"{call} {what}" for call, what in calls]
    (data,) = [at for at, name in enumerate(names) if name.startswith("fsync") and "/data>" in name]
    (renamed,) = [at for at, name in enumerate(names) if name.startswith("rename") and blob in name]
    directory = [at for at, name in enumerate(names) if name.startswith("fsync") and name.endswith("/blobs/sha256>")]
    parent = [at for at, name in enumerate(names) if name.startswith("fsync") and name.endswith("/blobs>")]
    assert data < renamed < directory[-1]
    assert parent and parent[0] < renamed, "the new directory of the algorithm must outlast a power loss too"
