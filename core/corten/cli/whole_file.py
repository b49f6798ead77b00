"""A file that a command writes: there once it is whole, and until then what was there before."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from corten.errors import InvalidArgument, mapped


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """`path` open for writing, `-` for standard output; a command that fails or is interrupted leaves it as it was.

    Raises CortenError if it cannot be written.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    target = os.path.realpath(path)
    with mapped(f"{path}: cannot write", {FileNotFoundError: InvalidArgument}):
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):  # a pipe, a device
            with open(target, "wb") as file:
                yield file
        else:
            with _replacing(target) as file:
                yield file


@contextmanager
def _replacing(target: str) -> Iterator[BinaryIO]:
    with _beside(target) as file:
        try:
            yield file
            file.flush()
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _beside(target: str) -> BinaryIO:
    """A new file in the same folder, with the mode that the target has or would get."""
    number, name = tempfile.mkstemp(prefix=f".{os.path.basename(target)[:200]}.", dir=os.path.dirname(target))
    try:
        os.chmod(name, stat.S_IMODE(os.stat(target).st_mode))
    except FileNotFoundError:
        os.umask(mask := os.umask(0))
        os.chmod(name, 0o666 & ~mask)
    os.close(number)
    return open(name, "wb")
