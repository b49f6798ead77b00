"""Sizes of a terminal as a client tells them: JSON objects one after the other, `{"Width":80,"Height":24}`."""

import json
from collections.abc import AsyncIterator
from typing import Any

from .model import Source, TerminalSize

HELD_MAX = 4096
"""Bytes without a whole object, after which the stream is given up."""
_LARGEST = 65535


async def read_sizes(source: Source) -> AsyncIterator[TerminalSize]:
    """Each size that makes sense, until the stream ends or is no JSON."""
    decoder, held = json.JSONDecoder(), ""
    while arrived := await source.read():
        held += arrived.decode(errors="replace")
        while held := held.lstrip():
            try:
                value, end = decoder.raw_decode(held)
            except ValueError:
                break
            held = held[end:]
            if size := _size(value):
                yield size
        if len(held) > HELD_MAX:
            return


def _size(value: Any) -> TerminalSize | None:
    """Names are taken in any case, as Go does."""
    if not isinstance(value, dict):
        return None
    known = {str(key).lower(): each for key, each in value.items()}
    width, height = known.get("width"), known.get("height")
    if not (isinstance(width, int) and isinstance(height, int)):
        return None
    return TerminalSize(width, height) if 0 < width <= _LARGEST and 0 < height <= _LARGEST else None
