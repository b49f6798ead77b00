"""Counters of a pod's network interfaces: of a process in it, or else by a short-lived helper in its namespace."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from corten.contracts.workers import Workers
from corten.errors import CortenError
from corten.linux import syscalls as kernel

from .interfaces import Interface, parse

assert sys.platform != "win32"

TARGET = "corten_cri.stats.network:read_all"
BATCH = 200
"""Namespaces that one helper looks at."""
DEADLINE = 10.0


def of_process(pid: int) -> list[Interface]:
    """Of the namespace that a process is in. Raises OSError. Blocks briefly."""
    return parse(Path(f"/proc/{pid}/net/dev").read_text())


def of_pins(workers: Workers, paths: Sequence[str]) -> dict[str, list[Interface]]:
    """By the path of a pinned namespace; one that cannot be opened is left out. Blocks."""
    found: dict[str, list[Interface]] = {}
    for start in range(0, len(paths), BATCH):
        found |= _batch(workers, paths[start : start + BATCH])
    return found


def read_all(payload: bytes, fds: Sequence[int]) -> bytes:
    """In the helper: the table of each namespace in `fds`, as JSON."""
    tables = []
    for fd in fds:
        kernel.setns(fd, kernel.CLONE_NEWNET)
        tables.append(Path("/proc/thread-self/net/dev").read_text())
    return json.dumps(tables).encode()


def _batch(workers: Workers, paths: Sequence[str]) -> Mapping[str, list[Interface]]:
    with ExitStack() as stack:
        opened = {}
        for path in paths:
            try:
                opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, opened[path])
            except OSError:
                continue
        if not opened:
            return {}
        try:
            answer = workers.start(TARGET, b"", list(opened.values())).result(DEADLINE)
        except CortenError:
            return {}
    return {path: parse(text) for path, text in zip(opened, json.loads(answer), strict=True)}
