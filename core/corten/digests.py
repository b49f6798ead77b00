"""Digests as the OCI specification writes them: `sha256:` and 64 hexadecimal digits, likewise sha384 and sha512.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

import hashlib
import re
from typing import Protocol, Self

from corten.errors import InvalidArgument

HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The algorithms that Corten and containerd know, with the number of hexadecimal digits of each."""

_GRAMMAR = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)
_SHOWN = 160


class Hasher(Protocol):
    """What `hashlib` returns."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Self: ...


def parse(digest: str) -> tuple[str, str]:
    """Algorithm and hexadecimal digits; both are safe as path components. Raises InvalidArgument."""
    match = _GRAMMAR.fullmatch(digest)
    if match is None:
        raise InvalidArgument(f"digest {digest[:_SHOWN]!r}: it is not of the form ALGORITHM:HEX")
    algorithm, encoded = match.groups()
    length = _length(algorithm, digest)
    if len(encoded) != length or not _HEX.fullmatch(encoded):
        raise InvalidArgument(f"digest {digest[:_SHOWN]!r}: {algorithm} has {length} lower-case hexadecimal digits")
    return algorithm, encoded


def hasher(algorithm: str) -> Hasher:
    """A `hashlib` object of an algorithm that `parse` accepts. Raises InvalidArgument for others."""
    _length(algorithm, algorithm)
    return hashlib.new(algorithm)


def of(data: bytes | bytearray | memoryview, algorithm: str = "sha256") -> str:
    """The digest of `data`."""
    state = hasher(algorithm)
    state.update(data)
    return f"{algorithm}:{state.hexdigest()}"


def _length(algorithm: str, digest: str) -> int:
    if algorithm not in HEX_LENGTH:
        known = ", ".join(HEX_LENGTH)
        raise InvalidArgument(f"digest {digest[:_SHOWN]!r}: its algorithm is none of {known}")
    return HEX_LENGTH[algorithm]
