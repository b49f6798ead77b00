"""Preloaded by the zygote: imports what the shim needs of others, and the shim itself when its turn has come.

What lies here is imported among all that the zygote preloads; the shim only by `rehearse`, when the zygote has made
room for what children run to lie together.
"""

import dataclasses
import fcntl
import heapq
import json
import logging
import pathlib
import select
import shutil
import tempfile
import termios

import google.protobuf.empty_pb2
import google.protobuf.timestamp_pb2

__all__ = [
    "dataclasses", "fcntl", "google", "heapq", "json", "logging", "pathlib", "rehearse", "select", "shutil", "tempfile",
    "termios",
]  # fmt: skip


def rehearse() -> None:
    """Called by the zygote once, after all imports."""
    from . import rehearsal

    rehearsal.rehearse()
