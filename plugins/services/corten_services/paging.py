"""Lists in pages that fit into a message, however long the names and labels in them are."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

PAGE_BYTES = 1 << 20
"""Bytes of items in a page, unless one item alone has more; far below any limit of messages."""


def pages(items: Iterable[M], limit: int = PAGE_BYTES) -> Iterator[list[M]]:
    """The items in their order, in lists of at most `limit` bytes or of one item; no list is empty."""
    page: list[M] = []
    size = 0
    for item in items:
        more = item.ByteSize()
        if page and size + more > limit:
            yield page
            page, size = [], 0
        page.append(item)
        size += more
    if page:
        yield page
