"""What the daemon tells a shim at its start, names and values in turn: to read JSON would cost every shim 150 KiB."""

from collections.abc import Mapping


def encode(settings: Mapping[str, str]) -> bytes:
    """Names and values with NUL bytes between them."""
    return "\0".join(word for pair in settings.items() for word in pair).encode()


def decode(words: bytes) -> dict[str, str]:
    """What `encode` was given."""
    told = words.decode().split("\0")
    return dict(zip(told[::2], told[1::2], strict=True))
