"""The local store is killed while it writes: what was committed is whole, what was not can be resumed."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from corten import digests
from corten.testing.content import put
from corten_content._local import LocalContent

WRITER = """
import os, sys
from pathlib import Path
from corten import digests
from corten_content._local import LocalContent
store = LocalContent(Path(sys.argv[1]))
for number in range(10**6):
    data = os.urandom(1000) * 50
    with store.writer(f"ref-{number}-{sys.argv[2]}", total=len(data), expected=digests.of(data)) as writer:
        for start in range(0, len(data), 5000):
            writer.write(data[start:start + 5000])
        digest = writer.commit(len(data))
    os.write(1, f"{digest}\\n".encode())
    if number % 3 == 0:
        store.delete(digest)
        store.writer(f"left-{number}").close()
        store.abort(f"left-{number}")
"""


@pytest.mark.integration
def test_killed_at_any_moment(tmp_path: Path) -> None:
    committed: set[str] = set()
    for turn in range(4):
        argv = [sys.executable, "-c", WRITER, str(tmp_path), str(turn)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout
            for _ in range(random.randint(1, 15)):
                committed.add(process.stdout.readline().decode().strip())
            process.send_signal(signal.SIGKILL)
        store = LocalContent(tmp_path)
        store.recover()
        found = {info.digest: info.size for info in store.walk()}
        for digest in found:
            with store.reader(digest) as reader:
                assert digests.of(reader.read_at(0, reader.size)) == digest
        assert len(committed & set(found)) >= len(committed) // 3
        for status in store.statuses():
            with store.writer(status.ref) as writer:
                assert writer.status().offset == status.offset
            store.abort(status.ref)
        assert os.listdir(tmp_path / "ingest") == []
        put(store, b"still writable %d" % turn, ref="after")
