"""Doing something in a forked child of the shim: what it touches of the shared memory costs nothing when it has ended.

For what is done seldom and touches much: a mount's way through the option parser, say, or that of statistics through
thirty files, would cost every shim 200 KiB for as long as it lives, where the fork costs a millisecond.
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from corten.errors import Unavailable, code_of, from_code

assert sys.platform != "win32"

_FINE = b"\0"


def apart(call: Callable[[], bytes | None]) -> bytes:
    """Call it in a child, wait, and return what it returned.

    Raises what it raised, as the class of `corten.errors` that it is or maps to.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        os.close(read)
        os.close(write)
        raise Unavailable(f"shim: cannot fork: {error}") from error
    if pid == 0:
        _answer(call, write)
    os.close(write)
    told = b""
    while piece := os.read(read, 65536):
        told += piece
    os.close(read)
    if told[:1] != _FINE:
        code, _, message = told.decode(errors="replace").partition(" ")
        raise from_code(int(code or 13), message or "shim: its child died")
    return told[1:]


def _answer(call: Callable[[], bytes | None], write: int) -> NoReturn:
    told = b""
    try:
        told = _FINE + (call() or b"")
    except BaseException as error:
        told = f"{code_of(error)} {error}".encode(errors="replace")[:65536]
    finally:
        while told:
            told = told[os.write(write, told) :]
        os.close(write)  # whoever waits need not wait for what the kernel takes down of a process that ends
        os._exit(0)
