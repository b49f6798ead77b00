"""Tells the service manager how the daemon is doing (man 3 sd_notify); nothing happens without one."""

import os
import socket
import sys


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` and the like to $NOTIFY_SOCKET. A manager that cannot be reached is ignored."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if sys.platform == "win32" or not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the manager's choice: an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state.encode(), address)
    except OSError:
        return
