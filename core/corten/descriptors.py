"""Waiting for a descriptor, whatever its number: select(2) knows none from 1024 on, and a daemon has more."""

import selectors


def readable(fd: int, timeout: float) -> bool:
    """Whether it can be read from, a pidfd that its process has ended, within `timeout` seconds. Blocks."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(timeout))
