"""Reading small files whole, as bytes: the text layer of Python's files costs every shim 200 KiB."""

import os
import sys

assert sys.platform != "win32"

_PIECE = 4096


def content(path: str) -> bytes:
    """All of a file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(fd, _PIECE)
        while len(piece) == _PIECE:
            piece = os.read(fd, _PIECE)
            data += piece
    finally:
        os.close(fd)
    return data


def write(path: str, data: bytes) -> None:
    """Make a file of mode 0600, or write over it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
