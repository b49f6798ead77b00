"""What the daemon and its unpacking workers both know: the limits, and how progress is told. Imports nothing heavy."""

import struct

from corten.values import dataclass

PROGRESS = struct.Struct("<Q")
"""A message of progress: compressed bytes read so far."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Against bombs: bytes of the uncompressed stream, and how many times the compressed size they may be.

    The ratio counts from `free` bytes on: small layers of zeros are legitimate. 0 means no limit.
    """

    max_bytes: int = 1 << 40
    max_ratio: int = 500
    free: int = 4 << 30
