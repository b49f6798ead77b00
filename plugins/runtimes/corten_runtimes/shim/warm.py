"""Preloaded by the zygote: imports what the shim needs of others, and the shim itself when its turn has come.

What lies here is imported among all that the zygote preloads; the shim only by `rehearse`, when the zygote has made
room for what children run to lie together.
"""

import dataclasses
import heapq
import shutil
import tempfile

import google.protobuf.any_pb2
import google.protobuf.duration_pb2
import google.protobuf.empty_pb2
import google.protobuf.timestamp_pb2

__all__ = ["dataclasses", "google", "heapq", "rehearse", "shutil", "tempfile"]


def rehearse() -> None:
    """Called by the zygote once, after all imports."""
    from . import rehearsal

    rehearsal.rehearse()
