"""Output as lines of the kubelet's log format: `2026-01-02T03:04:05.678901234Z stdout F words`; no I/O.

`F` ends a line; `P` is a part that is continued, or the last of a stream that ended without a newline. As containerd
has it, a carriage return before a newline is dropped (terminals send one), and a line of more than `max_line` bytes is
cut into parts of that length. All lines of one piece of output have one time, that of its arrival.
"""

import time

LINE_MAX = 16 << 20
"""Bytes of a line that are held in memory where no `max_line` is set; then it is cut too."""


class Lines:
    """The lines of one stream, `tag` being `stdout` or `stderr`."""

    def __init__(self, tag: str, max_line: int) -> None:
        self._full, self._partial = b" %s F " % tag.encode(), b" %s P " % tag.encode()
        self._max = max_line or LINE_MAX
        self._tail = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What is to be appended to the log for the next piece of output."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._tail += data
            return self._cut_tail()
        body = data[:end]
        if self._tail:
            body = bytes(self._tail) + body
        self._tail = bytearray(data[end:])
        if b"\r\n" in body:
            body = body.replace(b"\r\n", b"\n")
        now = stamp()
        return self._lines(body, now + self._full, now + self._partial) + self._cut_tail()

    def end(self) -> bytes:
        """What is to be appended at the end of the stream."""
        tail, self._tail = bytes(self._tail), bytearray()
        return b"%b%b%b\n" % (stamp(), self._partial, tail) if tail else b""

    def _lines(self, body: bytes, full: bytes, partial: bytes) -> bytes:
        """Whole lines, the last with its newline too: hop from newline to newline as far apart as may be."""
        parts: list[bytes] = []
        start, length, limit = 0, len(body), self._max
        while start < length:
            end = body.rfind(b"\n", start, start + limit + 1)
            if end < 0:
                parts += (partial, body[start : start + limit], b"\n")
                start += limit
            else:
                parts += (full, body[start:end].replace(b"\n", b"\n" + full), b"\n")
                start = end + 1
        return b"".join(parts)

    def _cut_tail(self) -> bytes:
        """Parts of a line that is too long already, though its end has not come."""
        tail, limit = self._tail, self._max
        if len(tail) - tail.endswith(b"\r") <= limit:
            return b""
        parts: list[bytes] = []
        head, start = stamp() + self._partial, 0
        while len(tail) - start > limit:
            parts += (head, bytes(tail[start : start + limit]), b"\n")
            start += limit
        self._tail = tail[start:]
        return b"".join(parts)


class Raw:
    """Output as it is, in place of `Lines`."""

    def feed(self, data: bytes) -> bytes:
        """The same."""
        return data

    def end(self) -> bytes:
        """Nothing."""
        return b""


def stamp() -> bytes:
    """Now, as Go's RFC3339Nano in UTC has it, with all nine digits."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % nanoseconds
