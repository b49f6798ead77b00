"""Doing something in a forked child of the shim: what it touches of the shared memory costs nothing when it has ended.

For what is done once and touches much: a mount's way through the option parser, say, would cost every shim 200 KiB
for as long as it lives, where the fork costs a millisecond.
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from corten.errors import Unavailable, code_of, from_code

assert sys.platform != "win32"

_FINE = b"\0"


def apart(call: Callable[[], object]) -> None:
    """Call it in a child, and wait. Raises what it raised, as the class of `corten.errors` that it is or maps to."""
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
    told = os.read(read, 65536)
    os.close(read)
    if told != _FINE:
        code, _, message = told.decode(errors="replace").partition(" ")
        raise from_code(int(code or 13), message or "shim: its child died")


def _answer(call: Callable[[], object], write: int) -> NoReturn:
    told = _FINE
    try:
        call()
    except BaseException as error:
        told = f"{code_of(error)} {error}".encode(errors="replace")[:65536]
    finally:
        os.write(write, told)
        os._exit(0)
