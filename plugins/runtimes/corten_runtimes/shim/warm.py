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
import sys
import tempfile
import termios
from pkgutil import iter_modules

import corten.api.cgroups.v1.metrics_pb2
import corten.api.cgroups.v2.metrics_pb2
import corten.api.events.task_pb2
import corten.api.runtime.task.v2.shim_pb2
import corten.api.services.streaming.v1.streaming_pb2
import corten.api.services.ttrpc.events.v1.events_pb2
import corten.api.shim.v1.streams_pb2
import corten.api.ttrpc.request_pb2
import corten.api.types.event_pb2
import corten.api.types.runc.options.oci_pb2
import corten.api.types.transfer.streaming_pb2
import google.protobuf.any_pb2
import google.protobuf.empty_pb2
import google.protobuf.timestamp_pb2
from corten.zygote.ahead import read_ahead

import corten_runtimes.shim

assert sys.platform != "win32"

__all__ = [
    "corten", "dataclasses", "fcntl", "google", "heapq", "json", "logging", "pathlib", "rehearse", "select", "shutil",
    "tempfile", "termios",
]  # fmt: skip


def rehearse() -> None:
    """Called by the zygote once, after all imports."""
    from . import rehearsal

    rehearsal.rehearse()


read_ahead(f"corten_runtimes.shim.{module.name}" for module in iter_modules(corten_runtimes.shim.__path__))
read_ahead(f"corten.linux.{name}" for name in ("mount", "mountinfo", "options", "syscalls"))
read_ahead(("corten.contracts.mounts", "corten.errors", "corten.wire.ttrpc.frames", "corten.zygote.child"))
