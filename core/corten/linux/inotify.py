"""Changes in a folder, as inotify(7) tells them: a descriptor that becomes readable, and nothing about what it was.

Who watches reads the folder again; so no event can be lost or misread.
"""

import ctypes
import os

from . import syscalls

IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_ONLYDIR = 0x01000000
CHANGES = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
_IN_NONBLOCK, _IN_CLOEXEC = 0o4000, 0o2000000

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Watches folders; not recursive. Close it."""

    def __init__(self) -> None:
        """Raises OSError, EMFILE where the user's instances (fs.inotify.max_user_instances) are used up."""
        fd = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if fd < 0:
            raise syscalls.oserror("inotify_init1")
        self._fd = int(fd)

    def fileno(self) -> int:
        """For the event loop: readable when something has changed."""
        return self._fd

    def add(self, folder: str) -> None:
        """Watch a folder; harmless if it is watched already, and needed again for a new one of that name."""
        if _libc.inotify_add_watch(self._fd, os.fsencode(folder), ctypes.c_uint32(CHANGES | IN_ONLYDIR)) < 0:
            raise syscalls.oserror("inotify_add_watch", folder)

    def drain(self) -> bool:
        """Forget the changes so far; whether there were any."""
        found = False
        while True:
            try:
                found = bool(os.read(self._fd, 65536)) or found
            except BlockingIOError:
                return found

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
