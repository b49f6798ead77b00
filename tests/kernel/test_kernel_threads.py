"""Bounded threads on a host that makes no more of them."""

import subprocess
import sys

SHORT_OF_MEMORY = """
import resource, threading, time
from pathlib import Path
from corten.errors import ResourceExhausted
from corten.threads import Threads

def no_more_threads():
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))

threads, first, done = Threads("some", 4), threading.Event(), threading.Event()
began = threading.Event()
threads.start(lambda wanted: (began.set(), first.wait()))
began.wait()
no_more_threads()
for _ in range(8):
    threads.start(lambda wanted: None)
threads.start(lambda wanted: done.set())
first.set()
assert done.wait(30), "what came meanwhile was never done"
try:
    Threads("others", 1).start(lambda wanted: None)
except ResourceExhausted as error:
    print(error.message)
"""


def test_what_finds_no_new_thread_is_done_by_those_there_are() -> None:
    argv = [sys.executable, "-c", SHORT_OF_MEMORY]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "threads others" in done.stdout
