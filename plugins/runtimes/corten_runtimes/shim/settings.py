"""What the daemon tells a shim at its start, as `name=value` words; JSON would cost every shim 150 KiB to read."""

from collections.abc import Mapping


def encode(settings: Mapping[str, str]) -> bytes:
    """The words, each ended by a NUL byte."""
    return "".join(f"{name}={value}\0" for name, value in settings.items()).encode()


def decode(words: bytes) -> dict[str, str]:
    """What `encode` was given."""
    return dict([word.split("=", 1) for word in words.decode().split("\0") if word])
