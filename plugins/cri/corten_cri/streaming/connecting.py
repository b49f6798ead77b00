"""The helper that makes sockets inside the network namespace of a pod; imported by the zygote, so it is light."""

import json
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from corten.errors import Internal, mapped
from corten.linux import syscalls as kernel

assert sys.platform != "win32"

FAMILIES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""How a pod's own localhost is reached, in the order in which it is tried."""


def make_sockets(payload: bytes, fds: Sequence[int]) -> bytes:
    """The helper, forked from the zygote: make sockets in the network namespace `fds[0]`, send them by `fds[1]`."""
    with mapped(f"enter the network namespace of pod {json.loads(payload)['pod']}"):
        kernel.setns(fds[0], kernel.CLONE_NEWNET)
    made = own_sockets()
    with socket.socket(fileno=fds[1]) as channel:
        socket.send_fds(channel, [b"s"], [each.fileno() for each in made])
    return b""


def own_sockets() -> list[socket.socket]:
    """One for each family that there is."""
    made = []
    for family, _ in FAMILIES:
        with suppress(OSError):
            each = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            each.setblocking(False)
            made.append(each)
    if not made:
        raise Internal("no TCP socket can be made: neither IPv4 nor IPv6 is there")
    return made
