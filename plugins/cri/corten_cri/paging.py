"""Long lists in several messages."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PAGE = 1000
"""Items in one message of a streaming list."""


def pages(items: Sequence[T], size: int = PAGE) -> Iterator[Sequence[T]]:
    """None for an empty list."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
